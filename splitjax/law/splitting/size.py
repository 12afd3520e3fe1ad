"""N chosen together with the split, under a budget of training FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from splitjax.config import UserError

from ..fitting.fitted import percentiles
from ..fitting.law_fit import LawFit
from .plan import EXTRAPOLATION, SplitPlan, domain_weights, plan
from .view import Budget, View

_FRACTIONS = np.linspace(0, 1, 101)
_SIZES = 49


def choose_size(
    law: LawFit,
    flops: float,
    experts: int,
    weights: Mapping[str, float] | None = None,
    extrapolate: bool = False,
    *,
    flops_per_token: float = 6.0,
    u_pretrain: float | None = None,
    u_special: float | Mapping[str, float] | None = None,
) -> SplitPlan:
    """Pick N, D and D' with the least predicted loss for which ``flops_per_token · N · (D + K·D') = flops``.

    Args:
        law: a fitted law.
        flops: training FLOPs of all models together.
        experts: K.
        weights, extrapolate, u_pretrain, u_special: as for `plan`.
        flops_per_token: training FLOPs per parameter and token.

    Returns:
        The plan at the best N under `total` accounting, with a 90 % interval of N in `n_interval`.

    Raises:
        UserError: no N within reach of the law spends so much, or what `plan` refuses.
    """
    if not 0 < flops < np.inf:
        raise UserError("FLOPs must be positive", where="compute")

    def budget(n: float) -> Budget:
        return Budget(float(n), flops / flops_per_token / float(n), experts, "total", u_pretrain, u_special)

    mean = domain_weights(law, weights)
    low, high = _reach(law, flops / flops_per_token, np.inf if extrapolate else EXTRAPOLATION)
    for _ in range(3):
        sizes = np.geomspace(low, high, _SIZES)
        best = int(np.argmin([_least(law, budget(n), mean)[0] for n in sizes]))
        low, high = sizes[max(best - 1, 0)], sizes[min(best + 1, _SIZES - 1)]
    chosen = float(sizes[best])
    found = plan(law, chosen, budget(chosen).tokens, experts, "total", weights, extrapolate,
                 u_pretrain=u_pretrain, u_special=u_special)  # fmt: skip
    return replace(found, n_interval=_interval(law, budget, mean, chosen, flops / flops_per_token, extrapolate))


def _reach(law: LawFit, work: float, times: float) -> tuple[float, float]:
    """N from which the law may speak, where N·T = work: bounds on N, and on T through it."""
    (n_low, n_high), (t_low, t_high) = law.ranges["n_params"], law.ranges["tokens"]
    reach = min(times, 1e4)
    low, high = max(n_low / reach, work / (t_high * reach)), min(n_high * reach, work * reach / t_low)
    if len(np.unique(law.table.n_params)) < 3:  # no extrapolation in N
        low, high = max(low, n_low), min(high, n_high)
    if low > high * (1 + 1e-9):
        raise UserError("no N within 30 times of the fitted range spends so much", where="compute",
                        mend="Add larger runs, or pass --extrapolate to plan anyway.")  # fmt: skip
    return low * (1 + 1e-12), high * (1 - 1e-12)


def _least(law: LawFit, budget: Budget, weights: Mapping[str, float], draws: bool = False) -> np.ndarray:
    """Least loss over the split, [draws]."""
    return View(law.chosen, budget, weights).loss(_FRACTIONS, draws=draws).min(1)


def _interval(
    law: LawFit, budget: Any, weights: Mapping[str, float], chosen: float, work: float, extrapolate: bool
) -> tuple[float, float]:
    """90 % interval of N over the draws."""
    low, high = _reach(law, work, np.inf if extrapolate else EXTRAPOLATION)
    sizes = np.unique(np.append(np.geomspace(low, high, _SIZES), chosen))
    losses = np.stack([_least(law, budget(n), weights, draws=True) for n in sizes])
    ends = percentiles(sizes[np.argmin(losses, 0)])
    return ends[0], ends[1]
