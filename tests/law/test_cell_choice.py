"""Cells chosen by the variance that they take from the split for their price."""

from __future__ import annotations

import numpy as np
import pytest

from splitjax import law
from splitjax.law import Cell
from splitjax.law.splitting.cell_choice import Draws, choose, each_sd_after, sd_after
from splitjax.law.splitting.design import prior


def draws(weights: list[list[float]], count: int = 200_000) -> Draws:
    """split = sum of the causes; the loss of a cell is a mix of them."""
    causes = np.random.default_rng(0).normal(size=(count, len(weights[0])))
    return Draws(causes.sum(1), causes @ np.array(weights).T)


def test_a_cell_that_shows_one_of_two_equal_causes_halves_the_variance() -> None:
    found = sd_after(draws([[1.0, 0.0], [0.0, 1.0]]), [0], noise=0.0)
    assert found == pytest.approx(1.0, rel=0.02)  # of sqrt(2)
    # seen with noise as large as the cause itself, it takes half as much: 2 - 1/2
    assert sd_after(draws([[1.0, 0.0]]), [0], noise=1.0) == pytest.approx(np.sqrt(1.5), rel=0.02)


def test_each_cell_alone_is_what_it_would_be_among_others() -> None:
    told = draws([[1.0, 0.0, 0.0], [0.0, 2.0, 0.5], [0.3, -1.0, 0.1]], count=30)
    assert each_sd_after(told, 0.7) == pytest.approx([sd_after(told, [cell], 0.7) for cell in range(3)])


def test_a_second_cell_that_tells_the_same_is_not_chosen() -> None:
    told = draws([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = choose(told, [1.0, 1.0, 1.0], limit=3.0, noise=1e-3)
    assert set(found.cells) in ({0, 2}, {1, 2})
    assert found.sd_before == pytest.approx(np.sqrt(2), rel=0.02)
    assert found.sd_after == pytest.approx(0.0, abs=0.01)


def test_price_and_limit_are_obeyed() -> None:
    told = draws([[1.0, 0.0], [0.0, 0.9]])
    assert choose(told, [10.0, 1.0], limit=20.0, noise=0.1).cells == (1, 0), "the cheaper tells more for its price"
    assert choose(told, [10.0, 1.0], limit=10.5, noise=0.1).cells == (1,)
    assert choose(told, [10.0, np.inf], limit=10.0, noise=0.1).cells == (0,)
    assert choose(told, [2.0, 2.0], limit=1.0, noise=0.1).cells == ()
    assert choose(told, [1.0, 1.0], limit=9.0, noise=0.1, most=1).cells == (0,)


def test_a_loss_that_its_noise_hides_tells_little() -> None:
    """Variances 1 and 0.01, noise 0.04: they take 1/1.04 = 0.962 and 0.01/0.05 = 0.2, so 4.81 is a fair price."""
    told = draws([[1.0, 0.0], [0.0, 0.1]])
    for price, first in ((4.7, 0), (4.9, 1)):
        assert choose(told, [price, 1.0], limit=9.0, noise=0.2, most=1).cells == (first,)
    assert sd_after(told, [0], 0.2) == pytest.approx(np.sqrt(2 - 1 / 1.04), rel=0.01)
    assert sd_after(told, [1], 0.2) == pytest.approx(np.sqrt(2 - 0.2), rel=0.01)


def test_what_tells_next_to_nothing_is_not_chosen() -> None:
    told = draws([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    weak = Draws(told.split - told.losses[:, 0] * 0.95, told.losses)
    assert choose(weak, [1e-9, 1.0], limit=5.0, noise=1e-3).cells == (1,)


def test_a_prior_speaks_of_every_cell_and_curves_of_t_tell_where_to_split() -> None:
    budget = law.Budget(1e8, 2e9, 4, "total")
    at = [Cell(n, f * 2e9, (1 - f) * 5e8) for n in (1e6, 2e6, 4e6) for f in (0.0, 0.3, 0.7, 1.0)]
    told = prior(budget, at)
    assert told.losses.shape[1] == len(at)
    assert len(told.split) == len(told.losses) > 500
    dense = [i for i, cell in enumerate(at) if not cell.d_special]
    assert sd_after(told, range(len(at)), 2e-3) < 0.9 * told.sd
    assert sd_after(told, range(len(at)), 2e-3) < sd_after(told, dense, 2e-3)


def test_sizes_near_the_main_run_tell_more_of_it_than_far_ones() -> None:
    budget = law.Budget(1e8, 2e9, 4, "total")

    def left(sizes: tuple[float, ...]) -> float:
        at = [Cell(n, f * 2e9, (1 - f) * 5e8) for n in sizes for f in (0.1, 0.5, 1.0)]
        return sd_after(prior(budget, at), range(len(at)), 2e-3)

    assert left((1e7, 2e7, 4e7)) < 0.97 * left((1e5, 2e5, 4e5))
