"""Further tables of the report: the plan's evidence, what was spent on which models, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from splitjax.config import format_count

from .judging.measured_edges import validation_loss
from .sections import Section, line

_CAUSES = {
    "steps": "steps that count",
    "redone": "steps made again after a kill",
    "compile": "compiling",
    "data": "waiting for data",
    "checkpoint": "saving and restoring",
    "evaluation": "scoring",
    "other": "everything else",
}


def evidence(plan: Mapping[str, Any]) -> Section | None:
    """What the split was picked by, before the main run: law, its held-out error, the alternatives, the date."""
    if "law" not in plan:
        return None
    error = (plan.get("held_out") or {}).get("mre")
    told = "not held out" if error is None else f"off by {100 * error:.2g} % on larger runs held out"
    rows = []
    for name, view in plan["by_family"].items():
        spread = "–"
        if view["interval"]:
            low, high = (100 * end for end in view["interval"])
            spread = f"{low:.0f}–{high:.0f} %"
        cells = [f"{view['weight']:.0%}", f"{100 * view['split_fraction']:.0f} %", spread]
        rows.append(line(name, [*cells, f"{view['predicted_loss']:.3f}"]))
    head = ("family", "weight in the law", "its own best split", "90 % interval", "predicted loss")
    note = f"Fixed {plan['made']}, before the main run, by {plan['family']} ({told}); law {plan['law']['hash'][:12]}."
    return Section("The plan's evidence and its alternatives", head, tuple(rows), note=note)


def costs(results: Mapping[str, Any]) -> Section:
    """Tokens and training FLOPs of the sweep and of each compared model."""
    told, flops = results["costs"], results["costs"]["planned_flops"] / results["costs"]["planned_tokens"]
    lines = [("sweep", told["sweep"]["tokens"], told["sweep"]["flops"])]
    compared = {name: each["tokens"] for name, each in results["models"].items() if "tokens" in each}
    lines += [(name, tokens, tokens * flops) for name, tokens in compared.items()]
    rows = tuple(line(name, [format_count(tokens), f"{spent:.3g}"]) for name, tokens, spent in lines if tokens)
    head = ("on", "tokens, all its models", "training FLOPs")
    note = "Each model with its whole path; trunks that models share were trained once."
    if seeds := results.get("seeds", {}).get("seeds"):
        note += f" The models were trained with {len(seeds)} seeds: {len(seeds)} times what stands here."
    return Section("What was spent", head, rows, note=note)


def goodput(found: Mapping[str, Any] | None) -> Section | None:
    """Where the wall time of training went."""
    if not found:
        return None
    wall, seconds = found["wall"] or 1.0, found["seconds"]
    rows = (line(words, [f"{seconds[cause]:,.1f}", f"{seconds[cause] / wall:.1%}"]) for cause, words in _CAUSES.items())
    note = (
        "Of the phases of sweep and main run, all processes added up. A process that is killed takes the last half "
        "minute of its account with it."
    )
    title = f"Goodput: {found['share']:.0%} of the training time in steps that count"
    return Section(title, ("cause", "seconds", "share"), tuple(rows), note=note)


def before_and_after(
    plan: Mapping[str, Any], results: Mapping[str, Any], after: Mapping[str, Any] | None
) -> Section | None:
    """Best split, its interval, the loss there, and how far both laws lie from what was measured.

    Args:
        plan: plan.json, of the law before.
        after: the same of the law after; None where nobody asked for one.
    """
    if after is None or "curve" not in plan:
        return None
    both = (plan, after)
    rows = (
        line("best split", [_percent(_best(each)) for each in both]),
        line("90 % interval", [_interval(each["interval"]) for each in both]),
        line("cannot be told from it", [_interval(each["flat_region"]) for each in both]),
        line("off from the measured losses, in the median", [_off(each["curve"], results) for each in both]),
    )
    note = (
        "Before: what the plan was made by. After: fitted again to the sweep and to the models measured here, by their "
        "validation losses (law_after.json). It has seen what it is compared with, so its last row is no test of it."
    )
    return Section("The law before and after this run", ("", "before", "after"), rows, note=note)


def _best(plan: Mapping[str, Any]) -> float:
    """The law's own pick, also where the config named a split."""
    told = plan.get("law_split_fraction")
    return float(plan["split_fraction"] if told is None else told)


def _off(curve: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    measured = {name: row for name, row in results["models"].items() if "fraction" in row}
    measured.pop("dense_equal_compute", None)  # another budget: it does not lie on this curve
    told = [(row["fraction"], validation_loss(results, name)) for name, row in measured.items()]
    fraction, loss = np.array([pair for pair in told if pair[1] is not None]).reshape(-1, 2).T
    off = np.abs(np.interp(fraction, curve["fraction"], np.asarray(curve["loss"], float)) / loss - 1.0)
    off = off[np.isfinite(off)]
    return f"{100 * np.median(off):.2f} % of {len(off)} models" if len(off) else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(ends: list[float]) -> str:
    return f"{100 * ends[0]:.0f} to {100 * ends[1]:.0f} %"
