"""A family's loss along a budget: over the split fraction D/T, as it is estimated and in draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..fitting.fitted import Fitted, percentiles
from ..fitting.law_fit import LawFit

Accounting = Literal["total", "per_model"]

_NEAR_CORNERS = np.logspace(-9, -2.5, 200)
GRID = np.unique(np.concatenate([[0.0, 1.0], _NEAR_CORNERS, 1 - _NEAR_CORNERS, np.linspace(0, 1, 801)]))
_NODES = np.unique(np.concatenate([[0.0, 1.0], _NEAR_CORNERS[::10], 1 - _NEAR_CORNERS[::10], np.linspace(0, 1, 101)]))
"""Where misfits are drawn; between them they are straight."""


@dataclass(frozen=True)
class Budget:
    """N, T, K and how T is counted; `before` are tokens behind the seed that no budget pays for."""

    n_params: float
    tokens: float
    experts: int
    accounting: Accounting
    u_pretrain: float | None = None
    u_special: float | Mapping[str, float] | None = None
    before: float = 0.0

    def unique(self, domain: str) -> tuple[float | None, float | None]:
        """Unique tokens of the mixture and of a domain; None where data are fresh."""
        special = self.u_special
        return self.u_pretrain, special.get(domain) if isinstance(special, Mapping) else special

    def spend(self, fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The law's D and D' (per expert) at fractions of T; D counts what is behind the seed."""
        share = self.experts if self.accounting == "total" else 1
        return self.before + fraction * self.tokens, (1.0 - fraction) * self.tokens / share


class View:
    """A family's loss as a function of the split fraction; its draws with the misfit of the family, where asked for."""

    def __init__(
        self, law: LawFit, fitted: Fitted, budget: Budget, weights: Mapping[str, float], patched: bool = False,
        misfit: bool = False,
    ) -> None:  # fmt: skip
        self.law, self.fitted, self.budget, self.weights, self.patched = law, fitted, budget, weights, patched
        self.misfit = misfit
        self._nodes: np.ndarray | None = None
        self.corners = {f: law.at_corner(fitted, f) for f in (0.0, 1.0)}
        if budget.before:
            self.corners[0.0] = fitted  # a seed that has seen tokens: D is not 0 there
        """Family that can speak for the corner: this one, or the best that can, or None."""

    def speakers(self, known: list[View]) -> list[View]:
        """Views of the families that speak for this one's corners, less those known: what decides must be told."""
        others = {family.name: family for family in self.corners.values() if family and family is not self.fitted}
        names = others.keys() - {view.fitted.name for view in known}
        return [self._of(others[name]) for name in sorted(names)]

    def _of(self, fitted: Fitted) -> View:
        """The same of another family, or of this one without what others say of its corners."""
        return View(self.law, fitted, self.budget, self.weights, misfit=self.misfit)

    def speaker_at(self, fraction: float) -> View:
        """The view whose family predicts this fraction: at a corner perhaps another's, whose curve leads there."""
        family = self.corners.get(fraction)
        return self if family is None or family is self.fitted else self._of(family)

    def loss(self, fraction: np.ndarray, *, draws: bool = False) -> np.ndarray:
        """Weighted mean loss, [draws, points] (one row for the estimate), at fractions [points] or [draws, points].

        Infinite at a corner that the family cannot predict, unless the view is patched with one that can.
        """
        out = self._loss(self.fitted, fraction, draws).copy()
        if not self.patched:
            return out
        fraction = np.broadcast_to(fraction, out.shape)
        for corner, family in self.corners.items():
            at = fraction == corner
            if family is not None and family is not self.fitted and at.any():
                value = self._loss(family, np.array([corner]), draws)
                out[at] = np.broadcast_to(value if len(value) == len(out) else value.mean(0), out.shape)[at]
        return out

    def _loss(self, fitted: Fitted, fraction: np.ndarray, draws: bool) -> np.ndarray:
        d, s = self.budget.spend(fraction)
        loss = mean_loss(fitted, self.budget, d, s, self.weights, draws)
        return loss * np.exp(self._off(fraction, len(loss))) if draws and fitted.draws else loss

    def off(self, d: np.ndarray, s: np.ndarray, count: int) -> np.ndarray:
        """Misfits at D and D', in log loss, [count, points]; 0 where there is none."""
        found = self.law.misfit(self.fitted) if self.misfit else None
        return np.zeros((1, len(d))) if found is None else found.draws(d, s, self.weights, count)

    def _off(self, fraction: np.ndarray, count: int) -> np.ndarray:
        """Misfits at fractions [points] or [draws, points], the same path of each draw whenever it is asked."""
        if self._nodes is None or len(self._nodes) not in (1, count):
            self._nodes = self.off(*self.budget.spend(_NODES), count)
        if len(self._nodes) == 1:
            return self._nodes[:, :1]
        right = np.clip(np.searchsorted(_NODES, fraction), 1, len(_NODES) - 1)
        share = (fraction - _NODES[right - 1]) / (_NODES[right] - _NODES[right - 1])
        low, high = (self._nodes[:, at] if at.ndim == 1 else np.take_along_axis(self._nodes, at, 1)
                     for at in (right - 1, right))  # fmt: skip
        return (1 - share) * low + share * high

    def best(self, *, draws: bool = False) -> np.ndarray:
        """Fraction with the least loss, [draws].

        A corner that another family speaks for is taken where that family puts it below this one's best and below its
        own loss there: the levels of two families differ by more than a corner differs from its neighbours, and a
        family that would itself not go to the corner does not send another one there.
        """
        own = self._of(self.fitted)
        best = best_fraction(lambda fraction: own.loss(fraction, draws=draws))
        if self.patched:
            least = own.loss(best[:, None], draws=draws)[:, 0]
            for corner, family in self.corners.items():
                if family is not None and family is not self.fitted:
                    there, here = (self._loss(family, at, draws)[:, 0] for at in (np.array([corner]), best[:, None]))
                    there, here = (x if len(x) == len(best) else np.full(len(best), x.mean()) for x in (there, here))
                    best = np.where((there < least) & (there < here), corner, best)
        return best

    def told(self) -> dict[str, Any]:
        """Best fraction, its interval, and the loss there."""
        best = float(self.best()[0])
        interval = percentiles(self.best(draws=True)) if self.fitted.draws else [best, best]
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
    fitted: Fitted, budget: Budget, d: np.ndarray, s: np.ndarray, weights: Mapping[str, float], draws: bool
) -> np.ndarray:
    """Weighted mean of domain losses at D and D', [draws, points]; the estimate where the family has no draws."""
    total: Any = 0.0
    for domain, weight in weights.items():
        u_d, u_s = (
            None if u is None else np.minimum(u, tokens)
            for u, tokens in zip(budget.unique(domain), (d, s), strict=True)
        )
        loss = fitted.losses(
            budget.n_params, d, s, domain, draws=draws and bool(fitted.draws), u_pretrain=u_d, u_special=u_s
        )
        total = total + weight * np.atleast_2d(loss)
    return np.asarray(total)
