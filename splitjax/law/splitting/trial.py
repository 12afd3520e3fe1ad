"""A law put to the test: the split that it picked, beside losses measured over all split fractions of one budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from splitjax.config import UserError

DENSE, CUSTOMARY = 1.0, 0.8
"""Fractions of the rivals of every split: one model, and the split most teams use by habit."""
AS_ASKED = 0.005
"""A fraction is trained in whole steps: one that is off by no more stands for the one that was asked for."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Losses over split fractions, N, T, K and the accounting being the same.

    Attributes:
        fraction: D/T, [points], ascending.
        loss: mean over domains, nats a token, [seeds, points].
    """

    fraction: np.ndarray
    loss: np.ndarray

    def __post_init__(self) -> None:
        if self.loss.shape[1:] != self.fraction.shape or not len(self.fraction):
            raise UserError(f"{self.loss.shape} losses of {self.fraction.shape} fractions", where="trial")
        if not (np.diff(self.fraction) > 0).all() or not np.isfinite(self.loss).all():
            raise UserError("fractions must ascend, and every seed must have every one of them", where="trial")

    @property
    def mean(self) -> np.ndarray:
        """Over the seeds, [points]."""
        return self.loss.mean(0)

    @property
    def best(self) -> float:
        """The fraction with the least loss."""
        return float(self.fraction[np.argmin(self.mean)])

    @property
    def noise(self) -> float:
        """Standard deviation over seeds of the difference of two splits of one seed, pooled; NaN for one seed.

        Two splits of a seed share initialisation and the order of the data, so their common shift is no noise here.
        """
        seeds, points = self.loss.shape
        if seeds < 2 or points < 2:
            return float("nan")
        left = self.loss - self.loss.mean(0) - self.loss.mean(1, keepdims=True) + self.loss.mean()
        return float(np.sqrt(2 * np.square(left).sum() / ((seeds - 1) * (points - 1))))

    def at(self, fraction: float) -> float:
        """The loss at the measured fraction that stands for this one.

        Raises:
            UserError: it was not measured.
        """
        if not self.has(fraction):
            told = ", ".join(f"{one:.4g}" for one in self.fraction)
            raise UserError(f"a split at {fraction:.4g} was not measured, only {told}", where="trial")
        return float(self.mean[np.argmin(np.abs(self.fraction - fraction))])

    def has(self, fraction: float) -> bool:
        """Whether it was measured, in whole steps."""
        return bool(np.abs(self.fraction - fraction).min() <= AS_ASKED)

    def regret(self, fraction: float) -> float:
        """How far the loss of a split lies above the least, as a share of it."""
        return self.at(fraction) / float(self.mean.min()) - 1.0


@dataclass(frozen=True)
class Trial:
    """What came of a law's pick.

    Attributes:
        picked, best: fractions: the law's, and the one measured to be best.
        regret: of the law's, as a share of the least loss.
        gain: of the best split over the better of dense and 80/20, nats a token.
        noise: of a difference between two splits, nats a token; NaN where it is not known.
        kept: share of that gain that the law's split keeps; None where the gain is not twice the noise or more.
        contained: whether the 90 % interval holds the best, in whole steps.
        width: of that interval, as a share of T.
    """

    picked: float
    best: float
    regret: float
    gain: float
    noise: float
    kept: float | None
    contained: bool
    width: float


def trial(measured: Measured, picked: float, interval: tuple[float, float], noise: float | None = None) -> Trial:
    """Compare a law's pick with what was measured.

    Args:
        measured: with the pick, dense and 80/20 among its fractions.
        picked: the law's split, a fraction.
        interval: its 90 % interval.
        noise: of a difference between two splits, where `measured` has one seed alone.

    Raises:
        UserError: the pick, dense or 80/20 was not measured.
    """
    low, high = interval
    noise = measured.noise if noise is None else noise
    rival = min(measured.at(DENSE), measured.at(CUSTOMARY))
    gain = rival - float(measured.mean.min())
    counts = gain > 0 and not gain < 2 * noise
    return Trial(
        picked=picked, best=measured.best, regret=measured.regret(picked), gain=gain, noise=noise,
        kept=(rival - measured.at(picked)) / gain if counts else None,
        contained=low - AS_ASKED <= measured.best <= high + AS_ASKED, width=high - low,
    )


def best_constant(settings: Mapping[str, Measured], among: Iterable[float]) -> tuple[float, dict[str, float]]:
    """The one fraction that would have served all settings best, known only afterwards, and its regret in each.

    Args:
        settings: name → what was measured.
        among: the fractions that were asked for; a law's own pick is no constant.

    Raises:
        UserError: none of them was measured in all settings.
    """
    common = [f for f in among if all(each.has(f) for each in settings.values())]
    if not common:
        raise UserError("no split was measured in every setting", where="trial")
    regrets = {float(f): {name: each.regret(f) for name, each in settings.items()} for f in common}
    best = min(regrets, key=lambda f: sum(regrets[f].values()))
    return best, regrets[best]
