"""Families compared by how they predict runs larger than those they were fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..tables.table import Table, clusters

SHARE = 0.1
"""At least this share of rows is held out along an axis."""
POWER = 4.0
"""A family counts as its error on held-out runs to minus this power."""
LEAST = 0.01
"""Families that count less than this count nothing."""


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


def cuts(table: Table, seed: int, told: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Test masks: the largest values of N, D and D' in turn; five folds of runs where no axis has three values.

    Args:
        told: rows that every family predicts (all): an axis whose largest are none of them compares nothing.
    """
    masks: dict[str, np.ndarray] = {}
    for name in ("n_params", "d_pretrain", "d_special"):
        values = getattr(table, name)
        distinct = np.unique(values[values > 0])
        if len(distinct) < 3:
            continue
        counts = np.array([(values >= value).sum() for value in distinct])
        least = distinct[max(2, int(np.flatnonzero(counts >= SHARE * len(values))[-1]))]
        if told is None or told[values >= least].any():
            masks[name] = values >= least
    return masks or _folds(table, seed)


def _folds(table: Table, seed: int) -> dict[str, np.ndarray]:
    units = clusters(table)
    fold = np.random.default_rng(seed).permutation(units.max() + 1) % 5
    return {f"fold {k + 1}": fold[units] == k for k in range(min(5, units.max() + 1))}


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


def explained(measured: np.ndarray, predicted: np.ndarray) -> float:
    """R²: the share of the variance that predictions explain."""
    spread = float(np.square(measured - measured.mean()).sum())
    return 1.0 - float(np.square(predicted - measured).sum()) / spread if spread > 0 else 0.0


def clustered_se(values: np.ndarray, units: np.ndarray) -> float:
    """Standard error of the mean of values whose units (runs) are drawn whole."""
    names, at = np.unique(units, return_inverse=True)
    if len(names) < 2:
        return float("nan")
    sums = np.bincount(at, values - values.mean())
    return float(np.sqrt(np.square(sums).sum() * len(names) / (len(names) - 1)) / len(values))


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


def run_errors(
    table: Table, tests: Mapping[str, np.ndarray], predicted: Mapping[str, np.ndarray], rows: np.ndarray
) -> np.ndarray:
    """Relative errors of the mean over the domains of each held-out run, all cuts together."""
    unit = clusters(table)
    out = []
    for axis, test in tests.items():
        at = test & rows
        counted = np.bincount(unit[at])
        measured, told = (np.bincount(unit[at], values[at])[counted > 0] for values in (table.loss, predicted[axis]))
        out.append(np.abs(told / measured - 1.0))
    return np.concatenate(out)


def weights(errors: Sequence[float]) -> np.ndarray:
    """What each family counts, from its mean error on held-out runs; those below a hundredth count nothing."""
    least = np.maximum(errors, 1e-6)
    found = (least / least.min()) ** -POWER
    found = np.where(found < LEAST * found.sum(), 0.0, found)
    return found / found.sum()
