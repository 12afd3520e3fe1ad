"""Gains beside figures of scipy: few windows, unequal domains, differences that are not symmetric."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from splitjax.data import Tokenizer
from splitjax.data.clusterer import Clusterer
from splitjax.evaluate import Scores, by_domain, gain, routers, routing
from splitjax.evaluate.tasks import _accuracy

OURS_MW = np.array([[2.0, 3.0], [1.0, 1.5], [4.0, 2.0]])
THEIRS_MW = OURS_MW + np.array([[0.1, 0.5], [0.2, 0.2], [-0.3, 0.4]])


def test_the_error_of_a_mean_over_domains_is_that_of_their_means_together() -> None:
    """Two windows a domain: the standard errors of three means of 0.3, 0.2 and 0.05 are 0.2, 0 and 0.35."""
    found = gain(OURS_MW, THEIRS_MW)
    sem_M = stats.sem(THEIRS_MW - OURS_MW, axis=1)
    assert sem_M == pytest.approx([0.2, 0.0, 0.35])
    assert found.nats == pytest.approx(0.55 / 3)
    assert found.error == pytest.approx(math.sqrt(0.2**2 + 0.35**2) / 3) == pytest.approx(np.linalg.norm(sem_M) / 3)
    assert found.perplexity == pytest.approx(100 * (1 - math.exp(-0.55 / 3)))
    assert found.perplexity_error == pytest.approx(100 * math.exp(-0.55 / 3) * found.error)


def test_one_window_a_domain_has_no_error_to_tell() -> None:
    assert gain(OURS_MW[:, :1], THEIRS_MW[:, :1]).error == 0.0


def test_the_error_of_an_accuracy_is_that_of_a_mean_of_ones_and_zeros() -> None:
    right_N = np.array([1, 1, 0, 1, 0, 1, 1])
    told = _accuracy("acc", right_N)
    assert told == {"acc": pytest.approx(5 / 7), "acc_error": pytest.approx(stats.sem(right_N))}
    assert _accuracy("acc", right_N[:1])["acc_error"] == 0.0


@pytest.mark.parametrize(("lead", "picked"), [(1.9, "prefix"), (2.1, "top1_posterior")])
def test_a_router_wins_by_two_standard_errors(lead: float, picked: str) -> None:
    """Differences of -1, 0 and 4 around their mean in either domain: √7 a domain, √(7/3)/√2 of the mean."""
    away_MW = np.array([[-1.0, 0.0, 4.0], [4.0, -1.0, 0.0]]) - 1
    error = math.sqrt(2 * 7 / 3) / 2
    assert error == pytest.approx(np.linalg.norm(stats.sem(away_MW, axis=1)) / 2)
    losses_MW = {"prefix": np.full((2, 3), 9.0) + away_MW + lead * error, "top1_posterior": np.full((2, 3), 9.0)}
    told = {name: routing.Routed(loss_MW, np.zeros((2, 3), int)) for name, loss_MW in losses_MW.items()}
    assert routing.pick([routers.make(name, (1, 2), None) for name in told], told).name == picked


def test_losses_of_windows_are_means_over_their_tokens() -> None:
    """Two experts, two domains, three windows of four targets, the first of which is the prefix."""
    nll_KMWS = np.array([
        [[[1, 2, 3, 4], [0, 0, 0, 4], [2, 2, 2, 2]], [[5, 1, 1, 1], [3, 3, 3, 3], [8, 0, 0, 0]]],
        [[[9, 9, 9, 9], [9, 9, 9, 9], [9, 9, 9, 9]], [[1, 1, 1, 5], [0, 3, 6, 3], [7, 1, 2, 0]]],
    ], np.float32)
    both, alone = Scores(nll_KMWS, 1), Scores(nll_KMWS[:1], 1)
    assert (both.experts, both.rest) == (2, 3)
    assert both.table_KM() == pytest.approx(np.array([[22 / 12, 28 / 12], [9, 30 / 12]]))
    assert both.oracle_MW() == pytest.approx(np.array([[2.5, 1, 2], [2, 3, 2.5]]))
    assert both.oracle_MW(whole=False) == pytest.approx(np.array([[3, 4 / 3, 2], [7 / 3, 4, 1]]))
    assert alone.oracle_MW() == pytest.approx(np.array([[2.5, 1, 2], [2, 3, 2]]))
    assert by_domain(alone.oracle_MW().mean(1)) == {
        "mean": pytest.approx(25 / 12), "perplexity": pytest.approx(math.exp(25 / 12)),
        "domains": pytest.approx([11 / 6, 7 / 3])}


def test_priors_are_shares_and_a_top_is_no_more_than_there_are_experts(clusterer: Clusterer) -> None:
    made = routers.make("top2_posterior", (1, 3, 4), None)
    assert (made.prior_K, made.top, made.causal, made.reads_losses) == ((0.125, 0.375, 0.5), 2, True, True)
    assert routers.make("top9_posterior", (1, 3, 4), None).top == 3
    assert [routers.make(name, (1, 3, 4), lambda: clusterer).top for name in ("prefix", "bayes", "centroid")] == [
        1, 3, 1]
    ensemble = routers.make("top2_centroid", (1, 3, 4), lambda: clusterer)
    assert routers.describe(ensemble) == {"router": "top2_centroid", "top": 2, "causal": False, "reads_losses": False,
                                          "temperature": 0.1}
    assert "temperature" not in routers.describe(routers.make("centroid", (1, 3, 4), lambda: clusterer))
    assert routers.describe(routers.make("prefix", (1, 3, 4), None)) == {
        "router": "prefix", "top": 1, "causal": False, "reads_losses": True}


def test_a_router_reads_the_first_id_and_its_prefix(tokenizer: Tokenizer) -> None:
    """An end id and two bytes after it; what follows the prefix of two targets is not read."""
    tokens_MWT = np.array([[[0, *tokenizer.encode("abcd")]], [[0, *tokenizer.encode("wxyz")]]], np.int32)
    assert routing.prefix_texts(tokens_MWT, 2, tokenizer) == ["ab", "wx"]
