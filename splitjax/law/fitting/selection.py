"""Families compared by how they predict runs larger than those they were fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..tables.table import Table

SHARE = 0.1
"""At least this share of rows is held out along an axis."""


@dataclass(frozen=True)
class Score:
    """Errors on held-out rows.

    Attributes:
        n: rows.
        mre: mean relative error.
        r2: share of the variance explained; against the mean of the rows that were fitted.
        se: standard error of mre, over runs where they are known.
        by_axis: mre along each axis that was cut.
    """

    n: int
    mre: float
    r2: float
    se: float = float("nan")
    by_axis: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None and value == value}


def cuts(table: Table, seed: int) -> dict[str, np.ndarray]:
    """Test masks: the largest values of N, D and D' in turn; five folds of runs where no axis has three values."""
    masks: dict[str, np.ndarray] = {}
    for name in ("n_params", "d_pretrain", "d_special"):
        values = getattr(table, name)
        distinct = np.unique(values[values > 0])
        if len(distinct) < 3:
            continue
        counts = np.array([(values >= value).sum() for value in distinct])
        least = distinct[max(2, int(np.flatnonzero(counts >= SHARE * len(values))[-1]))]
        masks[name] = values >= least
    return masks or _folds(table, seed)


def _folds(table: Table, seed: int) -> dict[str, np.ndarray]:
    units = clusters(table)
    fold = np.random.default_rng(seed).permutation(units.max() + 1) % 5
    return {f"fold {k + 1}": fold[units] == k for k in range(min(5, units.max() + 1))}


def clusters(table: Table) -> np.ndarray:
    """Number of the run of each row."""
    if table.run is None:
        return np.arange(len(table))
    return np.unique(table.run, return_inverse=True)[1]


def score(table: Table, tests: dict[str, np.ndarray], predicted: dict[str, np.ndarray], rows: np.ndarray) -> Score:
    """Errors over all cuts together, on the test rows among `rows`; `predicted` holds one prediction a cut."""
    error, residual, spread, axes, units = [], [], [], {}, []
    for axis, test in tests.items():
        at = test & rows
        if not at.any():
            continue
        y = table.loss[at]
        relative = np.abs(predicted[axis][at] / y - 1.0)
        axes[axis] = float(relative.mean())
        error.append(relative)
        residual.append(predicted[axis][at] - y)
        spread.append(table.loss[~test].mean() - y)
        units.append(clusters(table)[at])
    e = np.concatenate(error)
    r2 = 1.0 - float(np.square(np.concatenate(residual)).sum() / np.square(np.concatenate(spread)).sum())
    return Score(len(e), float(e.mean()), r2, clustered_se(e, np.concatenate(units)), axes)


def clustered_se(values: np.ndarray, units: np.ndarray) -> float:
    """Standard error of the mean of values whose units (runs) are drawn whole."""
    names, at = np.unique(units, return_inverse=True)
    if len(names) < 2:
        return float("nan")
    sums = np.bincount(at, values - values.mean())
    return float(np.sqrt(np.square(sums).sum() * len(names) / (len(names) - 1)) / len(values))


def errors(table: Table, tests: dict[str, np.ndarray], predicted: dict[str, np.ndarray], rows: np.ndarray) -> Any:
    """Relative errors of the held-out rows and the runs they belong to."""
    at = [(axis, test & rows) for axis, test in tests.items()]
    relative = [np.abs(predicted[axis][mask] / table.loss[mask] - 1.0) for axis, mask in at]
    return np.concatenate(relative), np.concatenate([clusters(table)[mask] for _, mask in at])


def mean_errors(table: Table, tests: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Relative errors on held-out rows of the mean of the fitted rows of the same domain."""
    out = []
    for test in tests.values():
        predicted = np.full(len(table), table.loss[~test].mean())
        for domain in table.domains:
            own = table.domain == domain
            if (own & ~test).any():
                predicted[own] = table.loss[own & ~test].mean()
        out.append(np.abs(predicted[test & rows] / table.loss[test & rows] - 1.0))
    return np.concatenate(out)


def choose(errors: Sequence[np.ndarray], units: np.ndarray, n_free: Sequence[int]) -> tuple[int, list[int]]:
    """Index of the chosen family, and of those within one standard error of the best.

    A family ties with the best where their errors, row by row, differ by no more than the standard error of that
    difference; of tied families the one with the fewest parameters is chosen, then the one with the least error.
    """
    means = [float(e.mean()) for e in errors]
    best = int(np.argmin(means))
    tied = [i for i in range(len(errors)) if _ties(errors[i], errors[best], units)]
    chosen = min(tied, key=lambda i: (n_free[i], means[i]))
    reach = means[best] + clustered_se(errors[best], units)
    near = [i for i in range(len(errors)) if means[i] <= reach or i in (chosen, best)]
    return chosen, sorted(near, key=lambda i: (i != chosen, means[i]))


def _ties(one: np.ndarray, best: np.ndarray, units: np.ndarray) -> bool:
    difference = one - best
    return float(difference.mean()) <= clustered_se(difference, units) or bool(np.all(difference == 0))
