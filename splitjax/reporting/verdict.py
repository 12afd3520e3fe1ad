"""The answer in one sentence, from plan and results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .number_text import diverged
from .router_table import name_of

_CORNERS = {
    "never_split": "Do not split: train one model",
    "split_at_once": "Split at once: train the experts from the start",
}


def headline(plan: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """'Split at 22 %, 90 % interval 15–31, …; experts beat dense by x ± s % perplexity, …'."""
    gains = results["gains"]
    if plan["split_fraction"] == 1:
        rivals = f"dense {_against('the 80/20 split', gains['planned_vs_80/20'], plural=False)}"
    else:
        rivals = (
            f"experts {_against('dense', gains['planned_vs_dense'])}, {_against('80/20', gains['planned_vs_80/20'])}"
        )
    accounting = results["budget"]["accounting"]
    router = results["models"]["planned"]["after_prefix"]["router"]
    by = "" if router in (None, "prefix") else f"{name_of(router)} of "
    terms = f"accounting {accounting}; routed by {by}a {results['prefix']}-token prefix, scored after it"
    return f"{_decision(plan)}; {rivals} ({terms}). {_worth(plan, gains)}{_missed(plan, gains)}{_lost(results)}"


def _decision(plan: Mapping[str, Any]) -> str:
    percent = f"{100 * plan['split_fraction']:.0f} %"
    if plan["decision"] == "explicit":
        corner = {1: _CORNERS["never_split"], 0: _CORNERS["split_at_once"]}.get(plan["split_fraction"])
        return f"{corner or f'Split at {percent}'}, as the config says"
    low, high = (100 * end for end in plan["interval"])
    flat = [100 * end for end in plan["flat_region"]]
    unknown = f"The sweep cannot tell where to split; its best guess is {percent}"
    start = (_CORNERS | {"undetermined": unknown}).get(plan["decision"], f"Split at {percent}")
    if plan["decision"] == "beaten":
        start = f"The law's best guess is {percent}, but {_rival(plan)}"
    return f"{start}, 90 % interval {low:.0f}–{high:.0f}, nothing in {flat[0]:.0f}–{flat[1]:.0f} % can be told from it"


def _rival(plan: Mapping[str, Any]) -> str:
    """The baseline that is better than the plan in most draws, and in how many."""
    beaten = {name: each["beaten"] for name, each in plan["baselines"].items() if each["beaten"] is not None}
    name = min(beaten, key=lambda each: beaten[each])
    return f"{name} is better in {100 * (1 - beaten[name]):.0f} % of its draws"


def _against(name: str, gain: Mapping[str, Any], plural: bool = True) -> str:
    value, error = gain["routed"]["perplexity"], gain["routed"]["perplexity_error"]
    if value is None or error is None:
        return f"cannot be compared with {name}"
    if value == error == 0:
        return f"{'are' if plural else 'is'} the same as {name}"
    verb = ("beat" if value > 0 else "lose to") if plural else ("beats" if value > 0 else "loses to")
    return f"{verb} {name} by {abs(value):.1f} ± {error:.1f} % perplexity"


def _worth(plan: Mapping[str, Any], gains: Mapping[str, Any]) -> str:
    """What a reader should do with it."""
    if plan["split_fraction"] == 1:
        measured = _worth_of_one_model(gains["planned_vs_80/20"]["routed"])
        if plan["decision"] == "explicit":
            return measured
        return f"The law expects no gain from splitting at this size and budget. {measured}"
    routed = gains["planned_vs_dense"]["routed"]
    if None in routed.values():
        return "Nothing can be said of splitting from this run."
    if routed["perplexity"] < -2 * routed["perplexity_error"]:
        return "At equal training tokens splitting did not pay: train one model at this size and budget."
    if routed["perplexity"] < 2 * routed["perplexity_error"]:
        return "The difference is within the noise: at equal training tokens splitting neither pays nor costs."
    return "At equal training tokens, splitting paid."


def _worth_of_one_model(routed: Mapping[str, Any]) -> str:
    if None in routed.values():
        return "Nothing can be said of splitting from this run."
    if routed["perplexity"] > 2 * routed["perplexity_error"]:
        return "At equal training tokens the 80/20 split did not pay."
    if routed["perplexity"] < -2 * routed["perplexity_error"]:
        return "At equal training tokens the 80/20 split was better."
    return "Against the 80/20 split the difference is within the noise."


def _missed(plan: Mapping[str, Any], gains: Mapping[str, Any]) -> str:
    """A measured split that was clearly better than the planned one is said, not hidden."""
    found = [
        (name.removeprefix("planned_vs_"), words, gain[kind])
        for name, gain in gains.items()
        if "_vs_split at" in name
        for kind, words in (("routed", "routed"), ("oracle", "label known"))
        if None not in gain[kind].values() and gain[kind]["perplexity"] < -2 * gain[kind]["perplexity_error"]
    ]
    if not found:
        return ""
    name, words, gain = min(found, key=lambda item: item[2]["perplexity"])
    value, error = -gain["perplexity"], gain["perplexity_error"]
    return f" A {name} was better still, by {value:.1f} ± {error:.1f} % ({words}){_blame(plan, name)}."


def _blame(plan: Mapping[str, Any], name: str) -> str:
    """What the law had to say of a split that did better: nothing, that it might, or that it would not."""
    if plan["decision"] == "explicit":
        return ""
    low, high = plan["flat_region"]
    known = low <= float(name.removeprefix("split at ").removesuffix(" %")) / 100 <= high
    return ": the law could not tell the two" if known else ": the law missed it"


def _lost(results: Mapping[str, Any]) -> str:
    """Models whose loss is no number, by name, with what to do."""
    told = "; ".join(f"{name} on {', '.join(domains)}" for name, domains in diverged(results).items())
    return f" Diverged: {told}. Lower train.learning_rate or the rate of that expert." if told else ""
