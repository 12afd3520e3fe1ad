"""Standard errors over training seeds, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from splitjax.evaluate import mean_and_error
from splitjax.scoring.seed_noise import Losses, over_seeds

FRACTIONS = {"planned": 0.4, "80/20": 0.8, "dense": 1.0}


def losses(mean: float, wobble: float = 0.0) -> Losses:
    """Two domains of two windows; those of the first lie `wobble` above and below the mean."""
    routed = np.full((2, 2), mean) + np.array([[wobble, -wobble], [0.0, 0.0]])
    return {"routed": routed, "oracle_after_prefix": routed - 0.25, "oracle": routed - 0.5}


def three_seeds() -> dict[int, dict[str, Losses]]:
    return {
        7: {"planned": losses(3.0), "80/20": losses(3.1), "dense": losses(3.2, wobble=0.3), "seed": losses(5.0)},
        8: {"planned": losses(3.3), "80/20": losses(3.2), "dense": losses(3.4), "seed": losses(5.0)},
        9: {"planned": losses(3.9), "80/20": losses(3.7), "dense": losses(4.5), "seed": losses(5.3)},
    }


def test_mean_and_error_of_three() -> None:
    """Deviations -1, -2, 3: 14 / 2 = 7 is the variance, 7 / 3 that of the mean."""
    assert mean_and_error([1.0, 0.0, 5.0]) == pytest.approx((2.0, math.sqrt(7 / 3)))


def test_losses_of_every_seed_with_their_spread() -> None:
    """3.0, 3.3, 3.9: deviations -0.4, -0.1, 0.5, variance 0.21."""
    told = over_seeds(three_seeds(), FRACTIONS)
    assert told["seeds"] == [7, 8, 9]
    for kind, less in (("routed", 0.0), ("oracle_after_prefix", 0.25), ("oracle", 0.5)):
        found = told["models"]["planned"][kind]
        assert found["by_seed"] == pytest.approx([3.0 - less, 3.3 - less, 3.9 - less])
        assert found["mean"] == pytest.approx(3.4 - less)
        assert found["error"] == pytest.approx(math.sqrt(0.07))
    assert told["models"]["seed"]["routed"]["error"] == pytest.approx(0.1), "5.0, 5.0, 5.3"


def test_gains_have_an_error_over_windows_and_one_over_seeds() -> None:
    """Gains 0.2, 0.1, 0.6: deviations -0.1, -0.2, 0.3, variance 0.07.

    The windows of one seed lie 0.3 apart from their mean, those of the mean over three 0.1: variance 0.02 of two
    windows, 0.01 of the first domain's mean, and over two domains √0.01 / 2.
    """
    found = over_seeds(three_seeds(), FRACTIONS)["gains"]
    assert set(found) == {"planned_vs_80/20", "planned_vs_dense"}, "the shared model is no rival"
    gain = found["planned_vs_dense"]["routed"]
    assert gain["by_seed"] == pytest.approx([0.2, 0.1, 0.6])
    assert gain["nats"] == pytest.approx(0.3)
    assert gain["error"] == pytest.approx(0.05)
    assert gain["seeds_error"] == pytest.approx(math.sqrt(0.07 / 3))
    ratio = math.exp(-0.3)
    assert gain["perplexity"] == pytest.approx(100 * (1 - ratio))
    assert gain["perplexity_error"] == pytest.approx(100 * ratio * 0.05)
    assert gain["perplexity_seeds_error"] == pytest.approx(100 * ratio * math.sqrt(0.07 / 3))


def test_the_best_split_of_every_seed_is_one_that_splits() -> None:
    """40, 80, 80 %: deviations -4/15, 2/15, 2/15 from the mean 2/3. That one model is better is another question."""
    runs = three_seeds()
    for run in runs.values():
        run["dense"] = losses(1.0)
    best = over_seeds(runs, FRACTIONS)["best_split"]
    assert best["by_seed"] == [0.4, 0.8, 0.8]
    assert best["mean"] == pytest.approx(2 / 3)
    assert best["error"] == pytest.approx(math.sqrt((16 + 4 + 4) / 225 / 2 / 3))


def test_where_one_model_is_the_plan_it_may_be_the_best() -> None:
    """Dense is the best of seed 7 and 8 then; the plan itself, dense too, shares its loss."""
    runs = three_seeds()
    for seed, loss in ((7, 2.0), (8, 3.0), (9, 4.0)):
        runs[seed]["dense"] = runs[seed]["planned"] = losses(loss)
    best = over_seeds(runs, FRACTIONS | {"planned": 1.0})["best_split"]
    assert best["by_seed"] == [1.0, 1.0, 0.8]


def test_a_split_that_diverged_is_not_the_best() -> None:
    runs = three_seeds()
    runs[7]["planned"] = losses(math.nan)
    told = over_seeds(runs, FRACTIONS)
    assert told["best_split"]["by_seed"] == [0.8, 0.8, 0.8]
    assert math.isnan(told["gains"]["planned_vs_dense"]["routed"]["nats"]), "no mean without one of its seeds"
