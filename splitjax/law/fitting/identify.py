"""What a table cannot tell: designs that are refused, and directions of the fit that data leave open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splitjax.config import UserError

from ..tables.table import Table
from .families import Family

TIED = 0.9999
"""Two logarithms that correlate more than this are one variable."""
RIDGE = 1e-5
"""Smallest over largest singular value of the scaled Jacobian below which a fit lies on a ridge."""
_COMPARED, _PAIRS, _SENSELESS = 1000, 20, 0.7
"""Rows of a domain that are compared at most; fewer pairs say nothing; share of them from which a table is refused."""
_MEND = "Add runs that break the tie, for example a grid over N, D and D'."


def check_design(table: Table) -> None:
    """Refuse a design whose effects cannot be told apart, whatever the family.

    Raises:
        UserError: D never varies, D' never varies, or two of N, D, D' are tied.
    """
    columns = {"n_params": table.n_params, "d_pretrain": table.d_pretrain}
    if table.has_special:
        columns["d_special"] = table.d_special
    for name, values in columns.items():
        if name != "n_params" and len(np.unique(values)) == 1:
            mend = "Leave the column out, or vary it." if name == "d_special" else "Vary it."
            raise UserError(f"{name} is {values[0]:g} in every row: its effect cannot be seen", where=name, mend=mend)
    names = [name for name, values in columns.items() if len(np.unique(values)) > 1]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            _refuse_tie(first, columns[first], second, columns[second])
    _refuse_plane({name: columns[name] for name in names})


def check_sense(table: Table) -> None:
    """Refuse a table whose loss grows where everything else grows too.

    Raises:
        UserError: in most pairs of rows of a domain in which one has at least as much of N, D and D'.
    """
    pairs = grown = 0
    for domain in table.domains:
        at = np.flatnonzero((table.domain == domain) & (table.weight > 0))[:_COMPARED]
        axes = [part[at] for part in (table.n_params, table.d_pretrain, table.d_special)]
        more = np.all([part[:, None] >= part for part in axes], 0) & np.any([part[:, None] > part for part in axes], 0)
        pairs += int(more.sum())
        grown += int((more & (table.loss[at][:, None] > table.loss[at])).sum())
    if pairs >= _PAIRS and grown > _SENSELESS * pairs:
        what = f"the loss grows with tokens in {100 * grown / pairs:.0f} % of comparable rows: is it an accuracy?"
        raise UserError(what, where="loss", mend="Give a loss, for an accuracy --column 'loss=1-acc'.")


def _refuse_tie(first: str, a: np.ndarray, second: str, b: np.ndarray) -> None:
    both = (a > 0) & (b > 0)
    if not both.all():  # cells without specialisation or without pretraining break a tie among the others
        return
    x, y = np.log(a[both]), np.log(b[both])
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return
    if abs(np.corrcoef(x, y)[0, 1]) < TIED:
        return
    slope = np.polyfit(x, y, 1)[0]
    ratio = f"{second}/{first} is constant" if abs(slope - 1) < 0.01 else f"{second} grows as {first}^{slope:.3g}"
    raise UserError(f"{ratio}: their effects cannot be told apart", where=f"{first}, {second}", mend=_MEND)


def _refuse_plane(columns: dict[str, np.ndarray]) -> None:
    """D' a product of powers of N and D: no pair is tied, all three together are."""
    *others, last = columns
    if len(others) < 2 or not all((values > 0).all() for values in columns.values()):
        return
    x = np.stack([np.ones_like(columns[last]), *(np.log(columns[name]) for name in others)], 1)
    y = np.log(columns[last])
    left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    if np.square(left).sum() <= (1 - TIED**2) * np.square(y - y.mean()).sum():
        what = f"{last} is fixed by {' and '.join(others)}: their effects cannot be told apart"
        raise UserError(what, where=", ".join(columns), mend=_MEND)


def unpredicted(table: Table, families: Sequence[Family]) -> list[str]:
    """A sentence on the rows that none of the families can predict."""
    lost = ~np.any([family.finite(table.d_pretrain, table.d_special) for family in families], 0)
    if not lost.any():
        return []
    no_d, no_s = (lost & (column == 0) for column in (table.d_pretrain, table.d_special))
    kinds = {"D = 0": no_d & ~no_s, "D' = 0": no_s & ~no_d, "D = D' = 0": no_d & no_s}
    if not table.has_special:
        kinds = {"D = 0": no_d}
    told = ", ".join(f"{count} with {kind}" for kind, mask in kinds.items() if (count := int(mask.sum())))
    return [f"{int(lost.sum())} of {len(table)} rows are predicted by none of the families and were not used: {told}."]


def ridge(names: list[str], jacobian: np.ndarray, free: np.ndarray) -> list[str]:
    """Parameters along which predictions do not change; empty where the fit is a point.

    Args:
        names: of the unknowns.
        jacobian: d log loss / d unknown, [rows, unknowns].
        free: unknowns that are neither held still nor at a bound.
    """
    at = np.flatnonzero(free)
    size = np.linalg.norm(jacobian[:, at], axis=0)
    dead = size <= 1e-8 * size.max(initial=1e-300)
    loose = [names[i] for i in at[dead]]
    at = at[~dead]
    if len(at):
        _, values, vectors = np.linalg.svd(jacobian[:, at] / size[~dead], full_matrices=False)
        for k in np.flatnonzero(values < RIDGE * values[0]):
            loose += [names[i] for i in at[np.abs(vectors[k]) > 0.3]]
    return list(dict.fromkeys(loose))
