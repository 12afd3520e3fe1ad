"""Two models on the same windows: the difference, its noise, and what it means as perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Gain:
    """How far model A is below model B.

    Attributes:
        nats: mean over domains of loss(B) − loss(A), nats a token; positive where A is better.
        error: its standard error over held-out windows, paired (training noise is not in it).
        perplexity: per cent by which A's perplexity is below B's.
        perplexity_error: the same standard error in per cent.
    """

    nats: float
    error: float
    perplexity: float
    perplexity_error: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def perplexity(nats: float) -> float:
    """e to the loss a token, of a model that has diverged cut at e^700: more is no float, and JSON has no infinity."""
    return math.exp(min(nats, 700.0))


def by_domain(loss_M: np.ndarray) -> dict[str, Any]:
    """A model's loss on each domain (nats a token), their mean, and its perplexity."""
    mean = float(loss_M.mean())
    return {"mean": mean, "perplexity": perplexity(mean), "domains": loss_M.tolist()}


def gain(a_MW: np.ndarray, b_MW: np.ndarray) -> Gain:
    """A's gain over B, from window losses (M domains, W windows), domains weighted equally.

    The windows are the same for both, so the error is that of the paired difference; it comes
    from the spread over windows inside each domain.
    """
    diff_MW = b_MW - a_MW
    domains, windows = diff_MW.shape
    nats = float(diff_MW.mean())
    spread_M = diff_MW.var(axis=1, ddof=1) / windows if windows > 1 else np.zeros(domains)
    error = math.sqrt(float(spread_M.sum())) / domains
    ratio = perplexity(-nats)
    return Gain(nats, error, 100 * (1 - ratio), 100 * ratio * error)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean of repetitions, two or more, and its standard error: by the spread of the sample (n - 1), over √n.

    Both NaN where one of them is no number.
    """
    if not np.isfinite(values).all():
        return math.nan, math.nan
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))
