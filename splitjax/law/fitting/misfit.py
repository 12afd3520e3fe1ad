"""What no family gets right: smooth stretches in which a law is off, estimated from its own rows.

A law's residuals are not all noise. Neighbouring cells are off the same way, by a per cent or two, because the form is
not the truth; and where the law predicts beyond its rows it is off as much, somewhere. The bootstrap redraws residuals
as if they were noise and averages that away. So log L = log law + m + noise is fitted here, m a Gaussian process over
(log N, log D, log D') with a Matérn 3/2 kernel and mean zero: the discrepancy of Kennedy and O'Hagan (2001, Bayesian
calibration of computer models, JRSS B 63), without their conditioning on the rows: it says how large the misfit is, not
which way it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tables.table import Table
from .selection import clusters

_LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Tried in units of log N, and of log D and log D'."""
_NOISE = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Variance of the noise over that of the misfit, tried."""
_GAIN = 3.0
"""Log likelihood that a misfit must gain over noise alone: one for each parameter that it has (Akaike)."""
_MOST = 400
"""Runs used at most: the cost grows with their cube."""


@dataclass(frozen=True)
class Misfit:
    """How far a law is off, beyond noise.

    Attributes:
        scale: standard deviation of the misfit of the mean over domains, in log loss.
        common, own: of that variance, the shares that all domains have in common and that each has alone; common +
            own / domains is 1.
        length: over which it changes, in log tokens.
        origin: tokens added to D and D' before the log: below, more tokens make no difference.
    """

    scale: float
    common: float
    own: float
    length: float
    origin: float

    def draws(
        self, d: np.ndarray, s: np.ndarray, weights: Mapping[str, float], count: int, seed: int = 0
    ) -> np.ndarray:
        """Misfits of the weighted mean along a path at one N, in log loss, [count, points]."""
        square = sum(weight**2 for weight in weights.values())
        amplitude = self.scale * np.sqrt(self.common + self.own * square)
        at = np.stack([np.log(d + self.origin), np.log(s + self.origin)], 1) / self.length
        covariance = _matern(np.sqrt(np.square(at[:, None] - at[None]).sum(-1)))
        root = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(at)))
        return amplitude * np.random.default_rng(seed).normal(size=(count, len(at))) @ root.T


def misfit_of(table: Table, predicted: np.ndarray, seed: int = 0) -> Misfit | None:
    """The misfit of a law on its rows.

    Args:
        table: the rows that were fitted.
        predicted: what the law says of each; rows where it is infinite say nothing.
        seed: which runs of a large table are used.

    Returns:
        None where the residuals are as well explained by noise alone, or where there are too few to tell.
    """
    at = np.isfinite(predicted) & (table.weight > 0)
    if at.sum() < 8:
        return None
    rows = table.select(at)
    residual = np.log(rows.loss / predicted[at])
    unit = clusters(rows)
    count = np.bincount(unit)
    mean = np.bincount(unit, residual) / count
    first = np.unique(unit, return_index=True)[1]
    n, d, s = rows.n_params[first], rows.d_pretrain[first], rows.d_special[first]
    positive = np.concatenate([d[d > 0], s[s > 0]])
    if len(mean) > _MOST:
        some = np.random.default_rng(seed).permutation(len(mean))[:_MOST]
        mean, n, d, s = mean[some], n[some], d[some], s[some]
    origin = float(positive.min()) if len(positive) else 1.0
    found = _likeliest(mean, np.log(n), np.stack([np.log(d + origin), np.log(s + origin)], 1))
    if found is None:
        return None
    variance, length = found
    own = _own_share(residual, mean, float(count.mean()))
    return Misfit(float(np.sqrt(variance)), 1 - own, own * float(count.mean()), length, origin)


def _own_share(residual: np.ndarray, mean: np.ndarray, domains: float) -> float:
    """Share of the variance of a mean over domains that comes from what each domain has alone."""
    if domains < 1.5:
        return 0.0
    single, whole = float(np.square(residual).mean()), float(np.square(mean).mean())
    own = max(0.0, (single - whole) / (domains - 1))  # whole = common + own / domains, single = common + own
    return min(1.0, own / whole)


def _likeliest(residual: np.ndarray, size: np.ndarray, tokens: np.ndarray) -> tuple[float, float] | None:
    """(variance, length in tokens) of the likeliest misfit; None where noise alone does."""
    count = len(residual)
    noise = -0.5 * count * np.log(np.square(residual).mean())
    apart: Any = np.square(size[:, None] - size[None])
    path = np.square(tokens[:, None] - tokens[None]).sum(-1)
    best: tuple[float, float, float] | None = None
    for length_n in _LENGTHS:
        for length in _LENGTHS:
            value, vectors = np.linalg.eigh(_matern(np.sqrt(apart / length_n**2 + path / length**2)))
            square = np.square(vectors.T @ residual)
            for ratio in _NOISE:
                spread = np.maximum(value, 0.0) + ratio + 1e-6
                variance = float((square / spread).mean())
                likelihood = -0.5 * (count * np.log(variance) + np.log(spread).sum())
                if best is None or likelihood > best[0]:
                    best = likelihood, variance, length
    assert best is not None
    return best[1:] if best[0] - noise > _GAIN else None


def _matern(distance: np.ndarray) -> np.ndarray:
    """Matérn 3/2 correlation."""
    scaled = np.sqrt(3.0) * distance
    return (1.0 + scaled) * np.exp(-scaled)
