"""A law's loss along a budget: over the split fraction D/T, as it is estimated and in draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..fitting.combined import Combined
from ..fitting.fitted import Fitted, shortest
from .budget import Budget

_NEAR_CORNERS = np.logspace(-9, -2.5, 200)
GRID = np.unique(np.concatenate([[0.0, 1.0], _NEAR_CORNERS, 1 - _NEAR_CORNERS, np.linspace(0, 1, 801)]))


Speaker = Combined | Fitted
"""Whatever says losses: the combined law, or a family alone."""


@dataclass(frozen=True, eq=False)
class View:
    """What a law says of the weighted mean over domains, as a function of the split fraction."""

    law: Speaker
    budget: Budget
    weights: Mapping[str, float]

    def loss(self, fraction: np.ndarray, *, draws: bool = False) -> np.ndarray:
        """Weighted mean loss, [draws, points] (one row for the estimate), at fractions [points] or [draws, points].

        Infinite at a corner that the law cannot predict.
        """
        return self.at(*self.budget.spend(fraction), draws=draws)

    def at(self, d: np.ndarray, s: np.ndarray, *, draws: bool = False) -> np.ndarray:
        """The same at D and D'."""
        return mean_loss(self.law, self.budget, d, s, self.weights, draws)

    def best(self, *, draws: bool = False) -> np.ndarray:
        """Fraction with the least loss, [draws]."""
        return best_fraction(lambda fraction: self.loss(fraction, draws=draws))

    def told(self) -> dict[str, Any]:
        """Best fraction, its interval, and the loss there."""
        best = float(self.best()[0])
        interval = shortest(self.best(draws=True)) if self.law.drawn else [best, best]
        loss = float(self.loss(np.array([best]))[0, 0])
        return {"split_fraction": best, "interval": interval, "predicted_loss": loss}


def best_fraction(loss: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Fraction with the least loss, [draws]: a grid that is dense near both corners, then zooms around its best.

    Args:
        loss: [draws, points] from fractions [points] or [draws, points].
    """
    values = loss(GRID)
    at = np.argmin(values, 1)
    best, least = GRID[at], np.take_along_axis(values, at[:, None], 1)[:, 0]
    low, high = GRID[np.maximum(at - 1, 0)], GRID[np.minimum(at + 1, len(GRID) - 1)]
    for _ in range(4):
        points = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, 17)
        values = loss(points)
        at = np.argmin(values, 1)[:, None]
        value, point = (np.take_along_axis(part, at, 1)[:, 0] for part in (values, points))
        best, least = np.where(value < least, point, best), np.minimum(value, least)
        low = np.take_along_axis(points, np.maximum(at - 1, 0), 1)[:, 0]
        high = np.take_along_axis(points, np.minimum(at + 1, 16), 1)[:, 0]
    return best


def mean_loss(
    law: Speaker, budget: Budget, d: np.ndarray, s: np.ndarray, weights: Mapping[str, float], draws: bool
) -> np.ndarray:
    """Weighted mean of domain losses at D and D', [draws, points]; the estimate where the law has no draws."""
    total: Any = 0.0
    # In a plain mean over all domains, what each has alone cancels.
    alone = len(weights) == 1 or len(set(weights.values())) > 1
    for domain, weight in weights.items():
        if not weight:
            continue
        u_d, u_s = (
            None if u is None else np.minimum(u, tokens)
            for u, tokens in zip(budget.unique(domain), (d, s), strict=True)
        )
        loss = law.losses(
            budget.n_params, d, s, domain, draws=draws and bool(law.drawn), u_pretrain=u_d, u_special=u_s, alone=alone
        )
        total = total + weight * np.atleast_2d(loss)
    return np.asarray(total)
