"""Which measured split is told as better than the planned one, and by how much: worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from splitjax.reporting.judging.best_split import _doubt, _of_law, _range
from splitjax.reporting.judging.measured_edges import Edge, edge, splits
from splitjax.reporting.verdict import _as_planned, judge

from .test_verdict import compared, gain, model, plan, results

BETTER = {0.4: (3.3, 1.1), 0.6: (2.6, 1.1), 0.7: (5.0, 3.0)}
"""Split → per cent by which it is better than the planned one, and their error: the last one is within the noise."""


def rivals(measure: str) -> dict[str, Any]:
    """Three further splits, better by this measure alone; routed they are the worse the later they are."""
    found = results(6.0, 2.5)
    for fraction, (better, error) in BETTER.items():
        found = compared(found, fraction, better if measure == "routed" else -fraction, error)
        found["gains"][f"planned_vs_split at {100 * fraction:g} %"][measure] = gain(-better, error)[measure]
    return found


def test_the_best_of_those_that_are_better_beyond_the_noise_is_told() -> None:
    """40 % lies outside the law's 15 to 31 %, so its measured neighbours bound it: 22 and 60 %. The least loss widens
    that to 70 %."""
    found = judge(plan(), rivals("routed"))
    assert found.beside == ("A split at 40 % was better than the planned 22 % by 3.3 ± 1.1 %: the law missed it.",)
    assert found.where == "Best split 22 to 70 % (law: 22 %; measured: 70 %)."
    assert found.whether.startswith("Split. Experts beat one model by 6.0 ± 0.4 %")


def test_so_it_is_with_the_label_known() -> None:
    found = judge(plan(), rivals("oracle"))
    assert found.beside == ("A split at 40 % was better than the planned 22 % by 3.3 ± 1.1 % with the label known: the "
                            "law missed it.",)
    assert found.where == "Best split 15 to 40 % (law: 22 %; measured: 22 %)."


def test_the_splits_are_those_of_one_budget_whose_loss_is_a_number() -> None:
    found = results(3.0, 1.0)
    found["models"]["dense_equal_compute"] = model(1.0, 2.9, 5000)
    found["gains"]["planned_vs_dense_equal_compute"] = gain(-3.0, 0.4)
    assert splits(found) == {"planned": 0.22, "dense": 1.0, "80/20": 0.8}


def without(found: dict[str, Any], name: str) -> None:
    """As results.json tells a comparison with a model that diverged."""
    nothing = dict.fromkeys(("nats", "error", "perplexity", "perplexity_error"))
    found["gains"][f"planned_vs_{name}"] = {"routed": nothing, "oracle": nothing}


def test_where_the_planned_model_diverged_there_is_nothing_to_hold_splits_against() -> None:
    found = results(3.0, 1.0)
    found["models"]["planned"]["after_prefix"]["routed"]["mean"] = None
    for name in ("dense", "80/20"):
        without(found, name)
    assert splits(found) == {}
    assert judge(plan(), found).where == "Best split, if any: 15 to 31 % (law: 22 %)."


def test_a_split_that_is_measured_alone_is_not_the_best_measured_one() -> None:
    found = results(3.0, 1.0)
    for name in ("dense", "80/20"):
        without(found, name)
    assert splits(found) == {"planned": 0.22}
    assert judge(plan(), found).where == "Best split, if any: 15 to 31 % (law: 22 %)."


def test_a_model_over_itself_is_nothing_and_has_no_noise() -> None:
    found = results(6.0, 2.5)
    assert edge(found, "dense", "dense") == Edge(0.0, 0.0, 0.0, None, 1)
    assert [over.seeds for a, b in (("planned", "dense"), ("80/20", "dense")) if (over := edge(found, a, b))] == [1, 1]


@pytest.mark.parametrize(("fraction", "told", "shown"), [
    (0.229, 0.22, 0.22), (0.211, 0.22, 0.22), (0.231, 0.22, 0.231), (1.0, 0.995, 1.0), (0.995, 1.0, 0.995),
    (0.005, 0.0, 0.005),
])
def test_whole_steps_are_rounded_away_up_to_a_hundredth_of_the_budget(
    fraction: float, told: float, shown: float
) -> None:
    """But a corner is no split, and a split no corner."""
    made = _as_planned(plan(fraction=told), results(6.0, 2.5, planned=fraction))
    assert made["models"]["planned"]["fraction"] == shown


def test_the_baseline_that_beats_the_law_most_often_is_named() -> None:
    """Beaten in 30 and 20 % of the draws, so better in 70 and 80 %; one that is no other split has no share."""
    doubted = plan("beaten", baselines={"dense": {"beaten": 0.3}, "split_at_0": {"beaten": 0.2},
                                        "80/20": {"beaten": None}})
    assert _doubt(doubted) == ", but a split at the start is better in 80 % of its draws"
    assert _doubt(doubted | {"baselines": {"80/20": {"beaten": 0.25}}}) == ", but 80/20 is better in 75 % of its draws"
    assert _doubt(doubted | {"baselines": {"80/20": {"beaten": None}}}) == ""
    assert _doubt(doubted | {"decision": "split"}) == ""


@pytest.mark.parametrize(("fraction", "words"), [
    (0.1, ": the law could not tell the two"), (0.38, ": the law could not tell the two"),
    (0.09, ": the law missed it"), (0.39, ": the law missed it"),
])
def test_a_split_in_the_flat_region_was_not_to_be_told(fraction: float, words: str) -> None:
    """From 10 to 38 %, its ends counted."""
    assert _of_law(plan(), fraction) == words
    assert _of_law(plan("explicit"), fraction) == ""


@pytest.mark.parametrize(("low", "high", "told"), [
    (0.0, 0.004, "0 %, from the start"), (0.996, 1.0, "100 %"), (1.0, 1.0, "100 %, one model"),
    (0.15, 0.31, "15 to 31 %"), (0.296, 0.304, "30 %"),
])
def test_a_range_of_one_per_cent_is_one_figure(low: float, high: float, told: str) -> None:
    assert _range(low, high) == told


@pytest.mark.parametrize(("nats", "error"), [([0.10, 0.16], 0.03), ([0.10], None)])
def test_seeds_are_noise_from_two_on(nats: list[float], error: float | None) -> None:
    """0.10 and 0.16 lie 0.03 from their mean: variance 0.0018, of the mean of two 0.0009."""
    found, mean = results(6.0, 2.5), sum(nats) / len(nats)
    told = {"nats": mean, "error": 0.01, "perplexity": 9.0, "perplexity_error": 0.9, "by_seed": nats}
    found["seeds"] = {"gains": {"planned_vs_dense": {"routed": told}}}
    over = edge(found, "planned", "dense")
    assert over is not None
    assert over.seeds == len(nats)
    assert over.over_seeds == (None if error is None else pytest.approx(100 * math.exp(-0.13) * error))
