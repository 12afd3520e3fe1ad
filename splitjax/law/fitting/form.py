"""A family laid out for the solver: which domains, which parameters are shared, which are held still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .families import REPEATS, Array, Family, Parameter, Rows, effective

LINEAR_MAX = 1e9
"""Bound of linear parameters, in units of the loss at the table's geometric means."""


@dataclass(frozen=True)
class Form:
    """A family fitted to `domains` at once.

    The vector of unknowns x holds, domain by domain, the linear parameters and the scales, then the exponents that
    all domains share. A domain's local vector z = x[index[domain]] is (linear..., nonlinear...).

    Attributes:
        family: the law.
        domains: names in table order; ("",) where the table has none.
        one_n: the table has one N, so the N term is held at zero.
        repeats: names of the half-lives to fit ("R_pretrain", "R_special").
    """

    family: Family
    domains: tuple[str, ...] = ("",)
    one_n: bool = False
    repeats: tuple[str, ...] = ()

    @cached_property
    def nonlinear(self) -> tuple[Parameter, ...]:
        return self.family.nonlinear + tuple(REPEATS[name] for name in self.repeats)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameters of a domain's local vector."""
        return self.family.linear + tuple(parameter.name for parameter in self.nonlinear)

    @property
    def n_linear(self) -> int:
        return len(self.family.linear)

    @cached_property
    def index(self) -> np.ndarray:
        """[domain, local] → position in x."""
        own = [i for i in range(len(self.names)) if self._is_own(i)]
        shared = [i for i in range(len(self.names)) if not self._is_own(i)]
        if len(self.domains) == 1:
            return np.arange(len(self.names))[None]
        index = np.zeros((len(self.domains), len(self.names)), np.int64)
        for g in range(len(self.domains)):
            index[g, own] = g * len(own) + np.arange(len(own))
            index[g, shared] = len(self.domains) * len(own) + np.arange(len(shared))
        return index

    def _is_own(self, local: int) -> bool:
        return local < self.n_linear or self.nonlinear[local - self.n_linear].scale

    @property
    def size(self) -> int:
        return int(self.index.max()) + 1

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound of x; equal where a parameter is held still."""
        low = [0.0] * self.n_linear + [parameter.low for parameter in self.nonlinear]
        high = [LINEAR_MAX] * self.n_linear + [parameter.high for parameter in self.nonlinear]
        if self.one_n:
            for i, name in enumerate(self.names):
                if name in self.family.of_n:
                    low[i] = high[i] = 0.0
        return self._spread(low), self._spread(high)

    def _spread(self, local: Sequence[float]) -> np.ndarray:
        x = np.zeros(self.size)
        for row in self.index:
            x[row] = local
        return x

    @property
    def n_free(self) -> int:
        """Free parameters, for ties and degrees of freedom."""
        low, high = self.bounds
        return int((low < high).sum())

    def columns(self, xp: Any, theta: Sequence[Array], rows: Rows) -> tuple[Array, ...]:
        """Columns of the law at local nonlinear parameters."""
        p: Mapping[str, Array] = {parameter.name: value for parameter, value in zip(self.nonlinear, theta, strict=True)}
        d, s = rows.d, rows.s
        if "R_pretrain" in p:
            d = effective(xp, d, rows.repeat_d, p["R_pretrain"])
        if "R_special" in p:
            s = effective(xp, s, rows.repeat_s, p["R_special"])
        return self.family.columns(xp, p, rows.n, d, s)

    def losses(self, x: np.ndarray, rows: Rows, domain: int) -> np.ndarray:
        """Predicted loss of one domain from x [draws, size] at rows [points] or [draws, points] → [draws, points]."""
        z = x[:, self.index[domain]]
        theta = [z[:, self.n_linear + i, None] for i in range(len(self.nonlinear))]
        with np.errstate(over="ignore", invalid="ignore"):
            columns = self.columns(np, theta, rows)
            total = sum(_times(z[:, j, None], column) for j, column in enumerate(columns))
        return np.broadcast_to(np.asarray(total), (len(x), rows.n.shape[-1]))

    def slopes(self, x: np.ndarray, rows: Rows, domain: int) -> np.ndarray:
        """d log loss / d x of one domain at x [size], by central differences: [points, size]."""
        step = 1e-5 * np.maximum(np.abs(x), 1e-3)
        points = np.concatenate([x + np.diag(step), x - np.diag(step)])
        logs = np.log(np.maximum(self.losses(points, rows, domain), 1e-300))
        return ((logs[: len(x)] - logs[len(x) :]) / (2 * step[:, None])).T


def _times(coefficient: np.ndarray, column: np.ndarray) -> np.ndarray:
    # A term whose coefficient is 0 is absent, also where its column is infinite.
    return np.where(coefficient == 0, 0.0, coefficient * column)
