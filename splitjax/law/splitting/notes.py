"""What a reader of a plan must know, one sentence each, from plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from splitjax.config import format_count

from ..tables.table import Table
from . import limits
from .budget import Budget
from .limits import words
from .rivals import better


def notes(
    table: Table, budget: Budget, best: float, baselines: Mapping[str, Mapping[str, Any]],
    by_family: Mapping[str, Mapping[str, Any]], *, off: float | None, allowed: float | None,
    drawn: bool, repeats: Collection[str],
) -> tuple[str, ...]:
    """Notes on a plan.

    Args:
        table: the rows that the law was fitted to.
        budget: of the plan.
        best: the planned split.
        baselines: what it is compared with.
        by_family: what each family says alone.
        off: how far the law is off in stretches, in log loss; None where it is not corrected.
        allowed: how far it may be off for all that so few runs could show; None where they could.
        drawn: whether the law has draws.
        repeats: half-lives of repeated data that the law knows.
    """
    d, s = (float(part[0]) for part in budget.spend(np.array([best])))
    predicted = {name for name, told in baselines.items() if told["predicted_loss"] is not None}
    return (
        *_of_rivals(baselines), *_of_the_law(baselines, by_family, off, allowed, drawn), *_of_experts(table, budget),
        *limits.told_of_budget(table, budget, d, s, predicted), *_of_repeats(table, budget, d, s, repeats),
    )


def _of_rivals(baselines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    name = better(baselines)
    if not name:
        return []
    return [f"{words(name)} is better than this plan in {1 - baselines[name]['beaten']:.0%} of draws."]


def _of_the_law(
    baselines: Mapping[str, Mapping[str, Any]], by_family: Mapping[str, Mapping[str, Any]], off: float | None,
    allowed: float | None, drawn: bool,
) -> list[str]:
    found = [
        f"{baselines[name]['family']} does not predict {words(name)}: that corner was not considered."
        for name in ("dense", "split_at_0") if baselines[name]["predicted_loss"] is None
    ]
    if len(by_family) > 1:
        told = ", ".join(f"{name} {each['split_fraction']:.0%}" for name, each in by_family.items() if each["weight"])
        found.append(f"The families that are combined put the split at: {told}.")
    if off is not None:
        found.append(f"The law is off by {off:.1%} in stretches that are no noise; it is corrected near its rows, and "
                     "the intervals allow for as much away from them.")
    if allowed is not None:
        found.append(f"So few runs could not show how far the law is off; the intervals allow for {allowed:.1%}, as is "
                     "usual.")
    if not drawn:
        found.append("The law has no bootstrap draws: the intervals are points.")
    return found


def _of_experts(table: Table, budget: Budget) -> list[str]:
    count = len(table.domains)
    if table.domains == ("",) or count == budget.experts:
        return []
    mean = f"the mean over the {count}" if count > 1 else "that one's"
    return [f"The law has {count} domain{'s' if count > 1 else ''}, the plan {budget.experts} experts: its losses are "
            f"{mean}, with D' = what one of {budget.experts} experts gets."]


def _of_repeats(table: Table, budget: Budget, d: float, s: float, known: Collection[str]) -> list[str]:
    """Passes over data of which the law has never seen a second."""
    found = []
    if "R_pretrain" not in known and budget.u_pretrain and d > budget.u_pretrain:
        found.append(f"D is {d / budget.u_pretrain:.1f} times the {format_count(budget.u_pretrain)} unique tokens of "
                     "the mixture; no row of the table repeats them, so the law counts each pass as new text.")
    least = min((u for domain in table.domains if (u := budget.unique(domain)[1])), default=None)
    if "R_special" not in known and least and s > least:
        found.append(f"D' is {s / least:.1f} times the {format_count(least)} unique tokens of a domain; no row of the "
                     "table repeats them, so the law counts each pass as new text.")
    return found
