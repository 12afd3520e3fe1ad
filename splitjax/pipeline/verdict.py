"""The answer in one sentence, and the sentences around it, from plan and results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def headline(plan: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """'Split at 22 %, 90 % interval 15-31, …; experts beat dense by x ± s % perplexity, …'."""
    gains = results["gains"]
    parts = [_decision(plan)]
    if plan["decision"] != "dense":
        parts.append(f"experts {_against('dense', gains['planned_vs_dense'])}")
        parts.append(_against("80/20", gains["planned_vs_80/20"]))
    else:
        parts.append(f"dense {_against('the 80/20 split', gains['planned_vs_80/20'])}")
    terms = (
        f"accounting {results['budget']['accounting']}; routed by a {results['prefix']}-token prefix, scored after it"
    )
    return f"{parts[0]}; {', '.join(parts[1:])} ({terms}). {_worth(plan, gains)}".strip()


def _decision(plan: Mapping[str, Any]) -> str:
    percent = 100 * plan["split_fraction"]
    if plan.get("source") == "explicit":
        return f"Split at {percent:.0f} %, as the config says (no law asked)"
    low, high = (100 * end for end in plan["interval"])
    flat = [100 * end for end in plan["flat_region"]]
    sure = f"90 % interval {low:.0f}–{high:.0f}, anything in {flat[0]:.0f}–{flat[1]:.0f} % is as good"
    start = {
        "dense": "Do not split: train one model",
        "split_at_start": "Split at once: train the experts from the start",
        "undetermined": f"The sweep cannot tell where to split; its best guess is {percent:.0f} %",
    }.get(plan["decision"], f"Split at {percent:.0f} %")
    return f"{start}, {sure}"


def _against(name: str, gain: Mapping[str, Any]) -> str:
    routed = gain["routed"]
    value, error = routed["perplexity"], routed["perplexity_error"]
    if routed["nats"] == 0 and error == 0:
        return f"are the same as {name}"
    verb = "beat" if value >= 0 else "lose to"
    return f"{verb} {name} by {abs(value):.1f} ± {error:.1f} % perplexity"


def _worth(plan: Mapping[str, Any], gains: Mapping[str, Any]) -> str:
    """What a reader should do with it."""
    if plan["decision"] == "dense":
        return "Splitting does not pay at this size and budget."
    routed = gains["planned_vs_dense"]["routed"]
    if routed["perplexity"] < -2 * routed["perplexity_error"]:
        return "Splitting did not pay here: train one model at this size and budget."
    if routed["perplexity"] < 2 * routed["perplexity_error"]:
        return "The difference is within the noise: splitting neither pays nor costs here."
    return "Splitting paid."
