"""The law before the main run and after it, with the measured models among its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .sections import Section, line


def section(plan: Mapping[str, Any], results: Mapping[str, Any], after: Mapping[str, Any] | None) -> Section | None:
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
        line("no better than it", [_interval(each["flat_region"]) for each in both]),
        line("off from the measured losses, in the mean", [_off(each["curve"], results) for each in both]),
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
    told = [(row["fraction"], row["validation"]["mean"]) for row in measured.values()]
    fraction, loss = np.array([pair for pair in told if pair[1] is not None]).reshape(-1, 2).T
    off = np.abs(np.interp(fraction, curve["fraction"], np.asarray(curve["loss"], float)) / loss - 1.0)
    off = off[np.isfinite(off)]
    return f"{100 * off.mean():.2f} % of {len(off)} models" if len(off) else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(ends: list[float]) -> str:
    return f"{100 * ends[0]:.0f} to {100 * ends[1]:.0f} %"
