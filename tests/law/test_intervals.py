"""Intervals, bands and marginal gains of a plan, beside figures worked out by hand: draws are off by known amounts."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.law import LawFit, plan, predict
from splitjax.law.fitting.fitted import percentiles, shortest
from splitjax.law.splitting.best_size import _lowest, _reach, best_size
from splitjax.law.splitting.plan import _flat
from splitjax.law.splitting.view import GRID

from .bare import bare
from .synthetic import TRUTHS, exact, table

K, N, T = 3, 1e7, 3e8
TRUTH = TRUTHS["effective_data"]
OFF = 1e-4 * (np.random.default_rng(0).permutation(41) ** 2.0 - 100)
"""Of 41 draws: by how much each is off. Their squares ascend, so no two quantiles lie alike around the middle."""
LOW, HIGH = 1e-4 * (2.0**2 - 100), 1e-4 * (38.0**2 - 100)
"""5 % and 95 % of 41 draws are the third and the third from the end."""


def raised(domains: dict[str, float]) -> LawFit:
    """A law whose draws are its estimate raised by OFF, times a factor of each domain."""
    base = exact("effective_data").families[0]
    forms, at = base.forms[0], base.forms[0].names.index("E")
    draws = []
    for factor in domains.values():
        x = np.tile(base.xs[0], (len(OFF), 1))
        x[:, at] += factor * OFF
        draws.append(x)
    family = dataclasses.replace(
        base, forms=tuple(dataclasses.replace(forms, domains=(name,)) for name in domains),
        xs=base.xs * len(domains), draws=tuple(draws),
    )
    return bare(dataclasses.replace(exact("effective_data"), families=(family,)))


def test_an_interval_of_draws_is_their_5_and_95_percent_point() -> None:
    assert percentiles(OFF) == pytest.approx([LOW, HIGH])
    assert percentiles(np.array([3.0, np.inf, 1.0])) == [1.0, np.inf]


@pytest.mark.parametrize(("draws", "held"), [
    ([0.9, *(0.02 * i for i in range(18))], [0.0, 0.34]),  # 18 of 19, at the lower end
    ([-0.9, *(0.02 * i for i in range(18))], [0.0, 0.34]),  # at the upper end
    ([0.0] * 30 + [0.3, 0.9, 1.0], [0.0, 0.3]),  # ⌈0.9 · 34⌉ = 31 of 33: they pile up at a corner
    ([0.2, 0.4, 0.7], [0.2, 0.7]),  # too few to leave one out
])
def test_the_shortest_interval_holds_nine_tenths_of_the_draws(draws: list[float], held: list[float]) -> None:
    assert shortest(np.random.default_rng(0).permutation(draws)) == pytest.approx(held)


def test_bands_and_intervals_of_a_loss_are_those_of_its_draws() -> None:
    """Weights 1 : 3 of domains that are off by 1 and 2 times OFF: the mean is off by 1.75 times OFF."""
    law = raised({"near": 1.0, "far": 2.0})
    found = plan(law, N, T, K, "per_model", weights={"near": 1.0, "far": 3.0})
    mean = 1.75 * np.array([LOW, HIGH])
    curve = found.curve
    np.testing.assert_allclose([curve.low - curve.loss, curve.high - curve.loss], np.outer(mean, np.ones(201)))
    assert found.loss_interval == pytest.approx(found.predicted_loss + mean)
    assert set(found.baselines) == {"dense", "80/20", "split_at_0", "dense_equal_compute"}
    for each in found.baselines.values():
        assert each["interval"] == pytest.approx(each["predicted_loss"] + mean)
    one = predict(law, N, 1e8, 2e6, "far")
    assert one.interval == pytest.approx(one.loss + 2.0 * np.array([LOW, HIGH]))
    assert one.by_family["effective_data"]["interval"] == pytest.approx(list(one.interval))
    both = predict(law, N, 1e8, 2e6)
    assert both.interval == pytest.approx(both.loss + 1.5 * np.array([LOW, HIGH])), "unweighted where none is given"


def test_the_interval_of_the_split_is_that_of_the_best_split_of_each_draw() -> None:
    """Under `total` D* = (K k g)^(1/(1-g)): each draw has the k of a known best split; most lie low."""
    best = 0.1 + 5e-4 * np.random.default_rng(1).permutation(41) ** 2.0
    laws = [exact("effective_data", TRUTH | {"k": (f * T) ** (1 - TRUTH["g"]) / (K * TRUTH["g"])}) for f in best]
    family = dataclasses.replace(laws[0].families[0], draws=(np.stack([each.families[0].xs[0] for each in laws]),))
    found = plan(bare(dataclasses.replace(laws[0], families=(family,))), N, T, K)
    expected = (0.1, 0.1 + 5e-4 * 37**2)
    assert found.split_fraction == pytest.approx(best[0], abs=1e-4)
    assert found.interval == pytest.approx(expected, abs=1e-4)
    assert found.by_family["effective_data"]["interval"] == pytest.approx(expected, abs=1e-4)
    assert found.per_domain[""]["interval"] == pytest.approx(expected, abs=1e-4)


def test_a_split_is_told_from_the_best_where_it_costs_a_thousandth_in_95_percent_of_draws() -> None:
    """40 draws: two may be flatter. The third flattest rises by 0.1 % over 0.1 of T to the right, 0.05 to the left."""
    slope = np.append([0.0, 0.005], np.linspace(0.01, 0.1, 38))

    class Rising:
        def loss(self, fraction: np.ndarray, *, draws: bool) -> np.ndarray:
            away = np.where(fraction > 0.5, fraction - 0.5, 2 * (0.5 - fraction))
            return 3.0 * (1 + slope[:, None] * away)

    low, high = _flat(Rising(), 0.5)  # type: ignore[arg-type]
    inside = GRID[(GRID >= 0.45) & (GRID <= 0.6)]
    assert (low, high) == pytest.approx((inside[0], inside[-1]), abs=1e-12)


@pytest.mark.parametrize(("accounting", "share"), [("total", K), ("per_model", 1)])
def test_marginal_gains_are_the_derivatives_of_the_formula(accounting: Any, share: int) -> None:
    """L = E + A/N^a + B/(D' + k D^g)^b."""
    found = plan(bare(exact("effective_data")), N, T, K, accounting)
    p, d, s = SimpleNamespace(**TRUTH), found.d_pretrain, found.d_special
    fall = p.b * p.B * (s + p.k * d**p.g) ** (-p.b - 1)
    assert found.marginal["special"] == pytest.approx(fall / share, rel=1e-4)
    assert found.marginal["pretrain"] == pytest.approx(fall * p.k * p.g * d ** (p.g - 1), rel=1e-4)


def test_the_interval_of_a_size_is_that_of_the_best_size_of_each_draw() -> None:
    """Losses that are parabolas of log N around known sizes, of which the estimate's is 1M."""
    best = np.log(1e6) + 10 * OFF

    def least(n: float, draws: bool) -> np.ndarray:
        return 3.0 + np.square(np.log(n) - (best if draws else np.log([1e6])))

    chosen, interval = best_size(exact("effective_data").table, 1e14, least, False)
    assert chosen == pytest.approx(1e6, rel=1e-3)
    assert interval == pytest.approx(1e6 * np.exp(10 * np.array([LOW, HIGH])), rel=1e-6)


@pytest.mark.parametrize(("work", "low", "high"), [
    (1e15, 1e15 / 6.3e9, 3e8),  # T at most 30 · 210M; N at most 30 · 10M
    (1e12, 1e4, 1.5e7),  # N at least 300k / 30; T at least 2M / 30
])
def test_sizes_are_looked_for_where_n_and_t_are_within_thirty_times(work: float, low: float, high: float) -> None:
    """N from 300k to 10M and D + D' from 2M to 210M were fitted."""
    assert _reach(table("effective_data"), work, 30.0) == pytest.approx((low, high), rel=1e-9)
    with pytest.raises(UserError, match="no N within 30 times of the fitted range spends so much"):
        _reach(table("effective_data"), 1e19, 30.0)


@pytest.mark.parametrize(("values", "least"), [
    ([0.15625, 0.00625, 0.05625, 0.30625], 2.5),  # (x - 1.25)² / 10, the points being 2 apart
    ([9.0, 6.0, 4.0, 3.5], 17 / 3),  # 4 + 2 · (6 - 3.5) / 2 / (6 - 2 · 4 + 3.5)
    ([9.0, 6.5, 5.0, 4.0], 6.0),  # that parabola is least at 4 + 2 · 2.5, behind the last point
    ([4.0, 3.5, 2.5, 1.0], 6.0),  # falls ever faster: there is none
    ([1.0, 3.0, 4.0, 4.5], 0.0),
    ([2.0, 2.0, 2.0, 1.0], 6.0),
    ([1.0, 2.0, 3.1, 4.5], 0.0),  # least at 2 - 2 · 10.5, before the first point
    ([2.0, 2.0, 2.0, 2.0], 0.0),
])
def test_the_least_point_is_that_of_the_parabola_and_never_outside(values: list[float], least: float) -> None:
    assert _lowest(np.array([0.0, 2.0, 4.0, 6.0]), np.array(values)[:, None])[0] == pytest.approx(least)
