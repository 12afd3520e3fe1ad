"""Small runs, and laws of a plausible kind that say what they might show before anything was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..fitting.families import Family
from ..fitting.fitted import Fitted
from ..fitting.form import Form
from ..fitting.scale import Reference
from .budget import Budget

_DRAWS = 200
FAMILY_NAMES = ("effective_data", "blending", "two_skills")
"""Families that predict every cell, also those without specialisation or without pretraining."""
_RANGES = {"a": (0.15, 0.6), "b": (0.15, 0.6), "c": (0.15, 0.6), "g": (0.5, 1.0)}
"""Exponents; what else domains share is as in a start of a fit."""


@dataclass(frozen=True)
class Cell:
    """A small run: N, D and D' (tokens)."""

    n_params: float
    d_pretrain: float
    d_special: float


def prior_law(family: Family, budget: Budget, rng: np.random.Generator) -> Fitted:
    """Laws of a plausible kind: exponents from 0.15 to 0.6, scales within a factor of 20, each term of order one."""
    form = Form(family)
    columns = [rng.uniform(1.0, 2.5, _DRAWS)]
    columns += [rng.uniform(0.1, 0.8, _DRAWS) for _ in family.linear[1:]]
    for parameter in family.nonlinear:
        low, high = (-3.0, 3.0) if parameter.scale else _RANGES.get(parameter.name, parameter.start)
        columns.append(rng.uniform(low, high, _DRAWS))
    x = np.stack(columns, 1)
    tokens = budget.tokens / np.sqrt(budget.experts) / 30  # between D and D'
    centre = Reference(float(np.log(budget.n_params / 10)), float(np.log(tokens)))
    return Fitted((form,), centre, (x.mean(0),), 0, 0.0, 0.0, 0.0, 0, 0, draws=(x,))


def prior_loss(one: Fitted, budget: Budget, fraction: np.ndarray) -> np.ndarray:
    """Losses along a budget, [draws, points]."""
    return one.losses(budget.n_params, *budget.spend(fraction), "", draws=True)


def log_losses(fitted: Sequence[Fitted], cells: Sequence[Cell], domain: str) -> np.ndarray:
    """Log losses of the cells, [draws of all families, cells]."""
    n, d, s = (np.array([getattr(c, name) for c in cells]) for name in ("n_params", "d_pretrain", "d_special"))
    return np.concatenate([np.log(one.losses(n, d, s, domain, draws=True)) for one in fitted])
