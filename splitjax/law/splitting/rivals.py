"""What a split is compared with: one model, the customary split, experts from the start, at the same cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..fitting.fitted import percentiles
from .budget import Budget

MOST = 0.5
"""A baseline that the split beats in fewer draws is better in most."""
_FRACTIONS = {"dense": 1.0, "80/20": 0.8, "split_at_0": 0.0}

def baselines(
    name: str, at: Callable[..., np.ndarray], budget: Budget, best: float, worst: float
) -> dict[str, dict[str, Any]]:
    """Name → the baseline's spending, loss, interval, and `beaten`: in which share of draws the split is better.

    Args:
        name: of the law that the plan uses.
        at: its losses at D and D' [points]: [1, points], or with draws=True [draws, points].
        budget: of the plan.
        best: the planned split.
        worst: the highest loss that the law was fitted to: a law that says more says nothing (`beyond`).
    """
    ours = tuple(float(part[0]) for part in budget.spend(np.array([best])))
    rivals = {key: (f, *(float(part[0]) for part in budget.spend(np.array([f])))) for key, f in _FRACTIONS.items()}
    if budget.accounting == "per_model":  # one model with the tokens of all experts
        rivals["dense_equal_compute"] = (1.0, ours[0] + budget.experts * ours[1], 0.0)
    return {key: _told(name, at, budget, fraction, ours, (d, s), worst) for key, (fraction, d, s) in rivals.items()}


def better(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The baseline that is better than the split in most draws, the surest of them; "" where none is."""
    shares = {name: told["beaten"] for name, told in found.items() if told["beaten"] is not None}
    surest = min(shares, key=lambda name: shares[name], default="")
    return surest if surest and shares[surest] < MOST else ""


def _told(
    name: str, at: Callable[..., np.ndarray], budget: Budget, fraction: float, ours: tuple[float, ...],
    theirs: tuple[float, float], worst: float,
) -> dict[str, Any]:
    """One rival. Draws of both losses belong together: what they have in common cancels."""
    d, s = (np.array(pair) for pair in zip(ours, theirs, strict=True))
    loss, draws = float(at(d, s)[0, 1]), at(d, s, draws=True)
    known = bool(np.isfinite(loss))
    compared = known and theirs != ours and bool(np.isfinite(draws).all())
    return {
        "family": name, "split_fraction": fraction,
        "d_pretrain": round(theirs[0] - budget.before), "d_special": round(theirs[1]),
        "predicted_loss": loss if known else None, "interval": percentiles(draws[:, 1]) if known else None,
        "beaten": float((draws[:, 0] < draws[:, 1]).mean()) if compared else None, "beyond": known and loss > worst,
    }
