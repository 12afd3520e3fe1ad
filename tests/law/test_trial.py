"""A law put to the test, on losses of a law whose best split is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.law import Measured, best_constant, plan, trial

from .synthetic import exact

GRID = np.array([0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0])


def measured(accounting: str = "total", experts: int = 4, seeds: int = 1, noise: float = 0.0) -> Measured:
    """Losses of effective_data, N = 1e6, T = 4e7, at the grid and at the law's own pick."""
    law = exact("effective_data")
    split = plan(law, 1e6, 4e7, experts, accounting)
    fraction = np.unique([*GRID, split.split_fraction])
    d, s = split.budget.spend(fraction)
    loss = law.predict(1e6, d, s)
    shift = np.random.default_rng(0).normal(size=(seeds, len(fraction)))
    return Measured(fraction, loss + noise * shift)


@pytest.mark.parametrize("accounting", ["total", "per_model"])
def test_a_law_that_is_right_has_no_regret_and_keeps_the_whole_gain(accounting: str) -> None:
    split = plan(exact("effective_data"), 1e6, 4e7, 4, accounting)
    found = trial(measured(accounting), split.split_fraction, (0.0, 1.0), noise=1e-9)
    assert found.best == pytest.approx(split.split_fraction)
    assert found.regret == pytest.approx(0, abs=1e-8)
    assert found.kept == pytest.approx(1.0)
    assert found.contained


def test_regret_and_gain_are_those_of_the_figures() -> None:
    curve = Measured(np.array([0.0, 0.4, 0.6, 0.8, 1.0]), np.array([[3.0, 2.0, 2.1, 2.5, 2.4]]))
    found = trial(curve, 0.6, (0.5, 0.7), noise=0.01)
    assert (found.best, found.regret, found.gain) == (0.4, pytest.approx(0.05), pytest.approx(0.4))
    assert found.kept == pytest.approx(0.75)  # 2.4 - 2.1 of 2.4 - 2.0: dense is the better rival
    assert not found.contained
    assert found.width == pytest.approx(0.2)


def test_a_gain_within_twice_the_noise_is_not_judged() -> None:
    curve = Measured(np.array([0.0, 0.4, 0.8, 1.0]), np.array([[3.0, 2.0, 2.2, 2.1]]))
    assert trial(curve, 0.8, (0, 1), noise=0.051).kept is None
    assert trial(curve, 0.8, (0, 1), noise=0.049).kept == pytest.approx(-1.0)
    assert trial(curve, 0.4, (0, 1)).kept == pytest.approx(1.0)  # the noise is not known: told, but as it is


def test_a_corner_that_is_best_leaves_no_gain_to_keep() -> None:
    curve = Measured(np.array([0.0, 0.8, 1.0]), np.array([[3.0, 2.2, 2.1]]))
    assert trial(curve, 1.0, (0.9, 1.0), noise=0.0).kept is None


@given(st.integers(0, 1000), st.floats(-1, 1))
def test_what_shifts_a_whole_seed_is_no_noise_of_a_difference(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    loss = 3 + 0.01 * rng.normal(size=(2, 8))
    moved = loss + np.array([[0.0], [shift]])
    assert Measured(GRID, moved).noise == pytest.approx(Measured(GRID, loss).noise)


def test_the_noise_is_that_of_a_difference() -> None:
    rng = np.random.default_rng(0)
    curve = Measured(np.linspace(0, 1, 500), 3 + 0.01 * rng.normal(size=(6, 500)))
    assert curve.noise == pytest.approx(0.01 * np.sqrt(2), rel=0.05)
    assert np.isnan(measured(seeds=1).noise)


def test_the_noise_of_few_seeds_is_the_mean_variance_of_the_differences_of_their_splits() -> None:
    loss = np.array([[3.0, 2.0, 2.5], [3.1, 2.2, 2.4], [2.9, 2.1, 2.8]])
    pairs = [loss[:, i] - loss[:, j] for i, j in ((0, 1), (0, 2), (1, 2))]
    told = Measured(np.array([0.0, 0.4, 1.0]), loss)
    assert told.noise == pytest.approx(np.sqrt(np.mean([np.var(each, ddof=1) for each in pairs])))
    assert told.best == 0.4
    assert told.regret(1.0) == pytest.approx((7.7 - 6.3) / 6.3)
    two = Measured(np.array([0.0, 1.0]), np.array([[3.0, 2.0], [3.1, 2.3]]))
    assert two.noise == pytest.approx(0.1 * np.sqrt(2)), "differences of 1 and 0.8"
    assert np.isnan(Measured(np.array([0.0]), np.array([[3.0], [3.1]])).noise)


def test_one_fraction_for_all_settings() -> None:
    early = Measured(np.array([0.0, 0.4, 0.8]), np.array([[2.0, 2.1, 2.4]]))
    late = Measured(np.array([0.0, 0.3, 0.4, 0.8]), np.array([[2.8, 1.0, 2.1, 2.0]]))
    fraction, regret = best_constant({"early": early, "late": late}, [0.0, 0.3, 0.4, 0.8])
    assert fraction == 0.4  # 0.3 was measured in one of them alone
    picked = Measured(np.array([0.0, 0.3996, 0.4031, 0.8]), np.array([[2.0, 2.1, 2.0, 2.4]]))
    assert best_constant({"a": picked}, [0.4])[1] == {"a": pytest.approx(0.05)}, "the law's pick beside it is none"
    assert regret == {"early": pytest.approx(0.05), "late": pytest.approx(1.1)}


def test_a_fraction_in_whole_steps_stands_for_the_one_asked_for() -> None:
    curve = Measured(np.array([0.0, 0.3996, 0.4031, 0.8004, 1.0]), np.array([[3.0, 2.0, 2.3, 2.5, 2.4]]))
    assert [curve.at(0.4), curve.at(0.403), curve.at(0.8)] == [2.0, 2.3, 2.5]
    assert curve.has(0.805)
    assert not curve.has(0.81)


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(UserError, match=r"a split at 0\.3 was not measured"):
        trial(measured(), 0.3, (0, 1))
    with pytest.raises(UserError, match="every seed"):
        Measured(GRID, np.where(GRID == 0.5, np.nan, np.ones((2, 8))))
    with pytest.raises(UserError, match="fractions"):
        Measured(GRID, np.zeros((2, 7)))
    for fractions in ([0.0, 0.5, 0.4], [0.0, 0.4, 0.4]):
        with pytest.raises(UserError, match="fractions must ascend"):
            Measured(np.array(fractions), np.ones((1, 3)))
    with pytest.raises(UserError, match="in every setting"):
        best_constant({str(at): Measured(np.array([at]), np.ones((1, 1))) for at in (0.1, 0.2)}, [0.1, 0.2])
