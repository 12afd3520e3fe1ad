"""Cells chosen one after another: each the one that narrows the split of a budget most for its price.

Losses of candidate cells and the best split are drawn together: from a fitted law (its families, its correction), or
from a prior before there is one. To the draws belongs a joint normal law of (split, losses); seeing a loss with noise
conditions it, and the next cell is chosen by what is then left: cheap in place of a new fit after each run, and close
to it as long as a round is short (Li et al. 2026 choose runs of dense models so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_GAIN = 0.01
"""A cell that lowers the variance of the split by a smaller share than this is not worth a run."""


@dataclass(frozen=True)
class Draws:
    """The best split and the log losses of cells, drawn together.

    Attributes:
        split: D*/T, [draws].
        losses: log of the mean over domains, [draws, cells].
    """

    split: np.ndarray
    losses: np.ndarray

    @property
    def sd(self) -> float:
        """Standard deviation of the split."""
        return float(self.split.std())


@dataclass(frozen=True)
class Choice:
    """Cells in the order of their choice.

    Attributes:
        cells: indices into the candidates.
        sd_before, sd_after: standard deviation of the split before, and expected once these are seen.
    """

    cells: tuple[int, ...]
    sd_before: float
    sd_after: float


def choose(draws: Draws, prices: Sequence[float], limit: float, noise: float, most: int = 100) -> Choice:
    """The candidates to train, within `limit`, each chosen by the variance that it takes from the split for its price.

    Args:
        draws: of the split and the candidates.
        prices: of each candidate alone; infinite for one that may not be chosen.
        limit: of the sum of prices.
        noise: standard deviation of a run's log loss.
        most: cells at most.
    """
    price = np.asarray(prices, float)
    joint = np.cov(np.column_stack([draws.split, draws.losses]), rowvar=False)
    before, left = float(joint[0, 0]), float(limit)
    chosen: list[int] = []
    while len(chosen) < most:
        taken = joint[0, 1:] ** 2 / (np.diag(joint)[1:] + noise**2)
        worth = np.where((price <= left) & (taken > LEAST_GAIN * before), taken / price, 0.0)
        worth[chosen] = 0.0
        best = int(np.argmax(worth))
        if worth[best] <= 0:
            break
        chosen.append(best)
        left -= price[best]
        joint = _seen(joint, best + 1, noise)
    return Choice(tuple(chosen), float(np.sqrt(before)), float(np.sqrt(max(joint[0, 0], 0.0))))


def each_sd_after(draws: Draws, noise: float) -> np.ndarray:
    """Standard deviation of the split that is left once one candidate was seen, for each of them, [cells]."""
    split, losses = draws.split - draws.split.mean(), draws.losses - draws.losses.mean(0)
    free = len(split) - 1
    taken = np.square(split @ losses / free) / (np.square(losses).sum(0) / free + noise**2)
    return np.sqrt(np.maximum(split @ split / free - taken, 0.0))


def sd_after(draws: Draws, cells: Sequence[int], noise: float) -> float:
    """Standard deviation of the split that is left once these candidates were seen."""
    joint = np.cov(np.column_stack([draws.split, draws.losses]), rowvar=False)
    for cell in cells:
        joint = _seen(joint, cell + 1, noise)
    return float(np.sqrt(max(joint[0, 0], 0.0)))


def _seen(joint: np.ndarray, at: int, noise: float) -> np.ndarray:
    """The covariance that is left once entry `at` was seen with noise."""
    column = joint[:, at]
    return joint - np.outer(column, column) / (joint[at, at] + noise**2)
