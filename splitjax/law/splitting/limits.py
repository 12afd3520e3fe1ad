"""How far a question lies outside the rows that a law was fitted to: told, and refused where it is too far."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from splitjax.config import UserError, format_count

from ..tables.table import NAMES, Table
from .budget import Budget

EXTRAPOLATION = 30.0
"""N, T, D and D' may lie this many times outside the fitted range."""
COVERED = 1000.0
"""N may, where the rows reach T at three splits: where to split hardly moves with N, though the level does."""
_SPLITS = 3
_WORDS = {"split_at_0": "split at 0 %", "dense_equal_compute": "dense, equal compute"}
_AS_FAR = 0.95
"""What reaches this share of the way reaches it: runs spend whole steps, and a twentieth tells no other law."""


def words(name: str) -> str:
    """A baseline as people read it."""
    return _WORDS.get(name, name)


def furthest_n(table: Table, budget: Budget) -> float:
    """How many times outside the fitted range the N of a plan may lie: further where the rows reach its T."""
    whole = _AS_FAR * (budget.before + budget.tokens)
    return COVERED if sum(tokens >= whole for tokens in _reached(table, budget)) >= _SPLITS else EXTRAPOLATION


def refuse_far(
    table: Table, asked: Mapping[str, float], extrapolate: bool, furthest_n: float = EXTRAPOLATION
) -> None:
    """Refuse what lies far outside.

    Args:
        table: the rows that the law was fitted to.
        asked: values of n_params, tokens (of one model: D + D'), d_pretrain, d_special.
        extrapolate: refuse nothing.
        furthest_n: of N.

    Raises:
        UserError: the first that lies over 30 times outside, or N further than it may.
    """
    for key, value, (low, high) in _ranges(table, asked):
        times = max(value / high, low / value if key in ("n_params", "tokens") else 0.0)  # a corner is no extrapolation
        if times > (furthest_n if key == "n_params" else EXTRAPOLATION) and not extrapolate:
            fitted = f"{format_count(low)} to {format_count(high)}"
            what = f"{NAMES[key]} = {format_count(value)} is {times:.0f} times outside the fitted {fitted}"
            raise UserError(what, where=key, mend="Add such runs, or pass --extrapolate to go on anyway.")


def told(table: Table, asked: Mapping[str, float]) -> list[str]:
    """A sentence on each that lies outside."""
    notes = []
    for key, value, (low, high) in _ranges(table, asked):
        if (times := max(value / high, low / value)) > 1 / _AS_FAR:
            side = "above" if value > high else "below"
            notes.append(f"{NAMES[key]} lies {times:.1f} times {side} the fitted range.")
    return notes


def told_of_budget(
    table: Table, budget: Budget, d_pretrain: float, d_special: float, predicted: Collection[str]
) -> list[str]:
    """The same for a plan, with what no run of the table has seen of its T and of the baselines that it predicts."""
    reach = budget.before + budget.tokens
    notes = told(table, {"n_params": budget.n_params, "tokens": reach})
    if budget.n_params > EXTRAPOLATION * table.n_params.max():
        notes.append("So far in N the rows tell where to split, not the loss there: take its level as unknown.")
    longest = _longest(table, budget)
    if longest < _AS_FAR * reach:
        notes = [note for note in notes if not note.startswith("T lies")]
        notes.append(
            f"T lies {reach / longest:.1f} times above the table's longest, {format_count(longest)}: the best split "
            "moves with T, so runs at this T would say more than larger ones."
        )
    notes += told(table, {"d_pretrain": d_pretrain, "d_special": d_special})
    for name, column, corner in (("D'", table.d_special, "dense"), ("D", table.d_pretrain, "split_at_0")):
        if corner in predicted and (column > 0).all() and not (name == "D" and budget.before):
            notes.append(f"No row of the table has {name} = 0: what is said of {words(corner)} is an extrapolation.")
    return notes


def _longest(table: Table, budget: Budget) -> float:
    """The largest T, as the budget counts it, that runs of the table reach at three splits: one tells of no best."""
    reached = _reached(table, budget)
    return reached[-min(_SPLITS, len(reached))]


def _reached(table: Table, budget: Budget) -> list[float]:
    """The largest T of each split that the table has, ascending."""
    d, s = table.d_pretrain, budget.share * table.d_special
    spent, reached = d + s, dict[float, float]()
    fractions = np.round(d / np.where(spent > 0, spent, 1.0), 3)
    for fraction, tokens in zip(fractions.tolist(), spent.tolist(), strict=True):
        reached[fraction] = max(tokens, reached.get(fraction, 0.0))
    return sorted(reached.values())


def _ranges(table: Table, asked: Mapping[str, float]) -> list[tuple[str, float, tuple[float, float]]]:
    """What can be compared. Few tokens are no extrapolation where the table has rows with none."""
    columns = {"n_params": table.n_params, "d_pretrain": table.d_pretrain, "d_special": table.d_special,
               "tokens": table.d_pretrain + table.d_special}
    found = []
    for key, value in asked.items():
        seen = columns[key][columns[key] > 0]
        if value > 0 and len(seen):
            none = key in ("d_pretrain", "d_special") and len(seen) < len(table)
            found.append((key, value, (0.0 if none else float(seen.min()), float(seen.max()))))
    return found
