"""Profile likelihood and pictures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from splitjax.config import UserError
from splitjax.law import LawFit, Table, fit, plan, profile

from .synthetic import TRUTHS, table


@pytest.fixture(scope="module", params=["huber", "squared"])
def law(request: pytest.FixtureRequest) -> LawFit:
    return fit(table("blending", noise=0.01, seed=1), "blending", loss=request.param, bootstrap=40)


def test_a_profile_is_least_at_the_estimate(law: LawFit) -> None:
    found = profile(law, "b")
    assert found.best == pytest.approx(law.families[0].parameters()["b"], rel=1e-4)
    assert found.interval[0] < found.best < found.interval[1]
    inside = (found.values > found.interval[0]) & (found.values < found.interval[1])
    rise = found.objective - found.objective.min()
    assert (rise[inside] <= found.threshold * 1.01).all()
    assert rise[0] > found.threshold
    assert rise[-1] > found.threshold
    low, high = law.intervals["b"]
    assert 0.3 < (found.interval[1] - found.interval[0]) / (high - low) < 3, "it agrees with the bootstrap"


@pytest.fixture(scope="module", params=["squared", "huber"])
def plain(request: pytest.FixtureRequest) -> LawFit:
    """A law of L(N, D) = E + A/N^a + B/D^b by least squares, of losses or (below a threshold of 1) of their logs."""
    columns = table("chinchilla", noise=0.004, special=(0.0,), seed=3).to_json()
    del columns["d_special"]
    return fit(Table.from_json(columns), "chinchilla", loss=request.param, delta=1.0, bootstrap=0)


def test_the_limit_is_that_of_a_likelihood_ratio(plain: LawFit) -> None:
    """Of least squares by hand: half the 90 % point of chi-squared times the variance of 20 rows less 5 parameters."""
    off = plain.chosen.members[0].on(plain.table)
    left = off - plain.table.loss if plain.settings["loss"] == "squared" else np.log(off / plain.table.loss)
    variance = np.square(left).sum() / (20 - 5)
    assert profile(plain, "b").threshold == pytest.approx(stats.chi2.ppf(0.9, 1) / 2 * variance, rel=1e-6)


def test_the_interval_is_that_of_scipys_least_squares(plain: LawFit) -> None:
    """Of b, by curve_fit: the estimate ± 1.645 standard errors, where the rise is as good as a parabola."""
    best, error = by_scipy(plain)
    ours = profile(plain, "b")
    assert ours.best == pytest.approx(best, rel=1e-3)
    low, high = ours.interval
    assert high - low == pytest.approx(2 * stats.norm.ppf(0.95) * error, rel=0.03)
    assert (low + high) / 2 == pytest.approx(best, abs=0.2 * error)


def test_the_bootstrap_spreads_as_scipys_standard_errors_say() -> None:
    """20 rows and 5 parameters: residuals that were not widened by √(20/15) would spread by an eighth less."""
    columns = table("chinchilla", noise=0.004, special=(0.0,), seed=3).to_json()
    del columns["d_special"]
    law = fit(Table.from_json(columns), "chinchilla", delta=1.0, bootstrap=1000)
    low, high = law.intervals["b"]
    assert high - low == pytest.approx(2 * stats.norm.ppf(0.95) * by_scipy(law)[1], rel=0.07)


def by_scipy(law: LawFit) -> tuple[float, float]:
    """b and its standard error, by curve_fit under the loss of the law."""
    t, logs = law.table, law.settings["loss"] == "huber"

    def told(_: np.ndarray, E: float, A: float, B: float, a: float, b: float) -> np.ndarray:
        loss = E + A / (t.n_params / 1e6) ** a + B / (t.d_pretrain / 2e7) ** b
        return np.log(loss) if logs else loss

    start = (1.8, 120 / 1e6**0.34, 400 / 2e7**0.33, 0.34, 0.33)
    found, covariance = optimize.curve_fit(told, np.arange(len(t)), np.log(t.loss) if logs else t.loss, start)
    return float(found[4]), float(np.sqrt(covariance[4, 4]))


def test_a_scale_or_a_stranger_has_no_profile(law: LawFit) -> None:
    for name in ("k", "E", "z"):
        with pytest.raises(UserError, match=f"'{name}' is not an exponent here"):
            profile(law, name)


@pytest.mark.slow
def test_profile_intervals_hold_the_truth() -> None:
    held = []
    for seed in range(100):
        one = fit(table("blending", noise=0.01, seed=seed), "blending", bootstrap=0)
        low, high = profile(one, "b").interval
        held.append(low <= TRUTHS["blending"]["b"] <= high)
    assert 0.8 <= np.mean(held) <= 0.98


def test_pictures_are_drawn(law: LawFit) -> None:
    import io

    pictures = [law.plot(), plan(law, 3e7, 1e9, 8).plot(), profile(law, "b").plot()]
    for figure in pictures:
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=40)
        assert image.getvalue().startswith(b"\x89PNG")
    labels = {axes.get_xlabel() for axes in pictures[0].axes}
    assert {"predicted loss", "D + D' (tokens)", "D (tokens)", "D (tokens); grey: beyond the fit"} <= labels
