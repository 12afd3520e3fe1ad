"""A plan says no more than the law knows: baselines carry their share of draws, and one that is beaten is no split."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from splitjax.cli.laws.law_text import plan_text
from splitjax.law import LawFit, plan

from .bare import bare
from .synthetic import TRUTHS, exact, formula

K, T, N = 8, 3e8, 1e7
TRUTH = TRUTHS["effective_data"]


def law(fraction: float, others: float, share: float) -> LawFit:
    """A law whose best split is `fraction`, and so are its draws but a share of them, whose best is `others`."""
    one, two = (exact("effective_data", TRUTH | {"k": k_of(f)}) for f in (fraction, others))
    count = round(share * 100)
    xs = [law.families[0].xs[0] for law in (two, one)]
    draws = np.repeat(xs, [count, 100 - count], 0)
    return bare(dataclasses.replace(one, families=(dataclasses.replace(one.families[0], draws=(draws,)),)))


def k_of(fraction: float) -> float:
    """Under `total`, D* = (K·k·g)^(1/(1-g)): the k whose best split is this fraction."""
    return (fraction * T) ** (1 - TRUTH["g"]) / (K * TRUTH["g"])


def loss(fraction: float, k: float, share: float = K) -> float:
    d, s = np.array(fraction * T), np.array((1 - fraction) * T / share)
    return float(formula("effective_data", TRUTH | {"k": k}, np.array(N), d, s))


def test_a_split_that_a_baseline_beats_in_most_draws_is_not_called_one() -> None:
    # In 60 of 100 draws dense is better: their k makes the derivative at D = T favour the mixture.
    assert loss(1.0, k_of(2.0)) < loss(0.7, k_of(2.0))
    assert loss(1.0, k_of(0.7)) > loss(0.7, k_of(0.7))
    found = plan(law(0.7, 2.0, 0.6), N, T, K)
    assert found.split_fraction == pytest.approx(0.7, abs=1e-3)
    assert found.interval == pytest.approx((0.7, 1.0), abs=1e-3)
    assert found.baselines["dense"]["beaten"] == 0.4
    assert found.decision == "beaten"
    assert found.notes[0] == "dense is better than this plan in 60% of draws."
    text = plan_text(found.to_json())
    assert text.startswith("Best guess 70.0%, but dense is better in 60% of draws; 90 % interval")
    assert "split at 7" not in text.lower()
    assert max(map(len, text.splitlines())) <= 80
    assert "split at 0 % " in text
    assert "split_at_0" not in text
    sure = plan(law(0.7, 2.0, 0.4), N, T, K)
    assert sure.baselines["dense"]["beaten"] == 0.6
    assert sure.decision == "split"
    assert not any("better than this plan" in note for note in sure.notes)
    assert plan_text(sure.to_json()).startswith("Split at 70.0%")


def test_the_same_for_a_split_at_0() -> None:
    # In 55 of 100 draws the best is 45 %, and both 80 % and one model are better than none of the mixture.
    k = k_of(0.45)
    assert max(loss(0.8, k), loss(1.0, k)) < loss(0.0, k)
    found = plan(law(1e-9, 0.45, 0.55), N, T, K)
    assert found.split_fraction < 1e-6
    assert found.baselines["80/20"]["beaten"] == found.baselines["dense"]["beaten"] == 0.45
    assert found.decision == "beaten"
    assert plan(law(1e-9, 0.45, 0.45), N, T, K).decision in ("split", "split_at_once")


def test_a_loss_above_all_that_was_fitted_is_none() -> None:
    made = law(0.45, 0.45, 0.0)
    at_0, dense = loss(0.0, k_of(0.45)), loss(1.0, k_of(0.45))
    assert at_0 > dense
    for worst, beyond in ((1.01 * at_0, False), (0.5 * (at_0 + dense), True)):
        rows = dataclasses.replace(made.table, loss=np.minimum(made.table.loss, worst))
        assert rows.loss.max() == pytest.approx(worst)
        found = plan(dataclasses.replace(made, table=rows), N, T, K)
        assert found.baselines["split_at_0"]["beyond"] is beyond
        assert found.baselines["dense"]["beyond"] is False
        assert found.baselines["split_at_0"]["predicted_loss"] == pytest.approx(at_0)
        line = next(line for line in plan_text(found.to_json()).splitlines() if "split at 0" in line)
        assert ("beyond its runs" in line) is beyond
        assert (f"{at_0:.4f}" in line) is not beyond


def test_dense_of_equal_compute_has_its_share_too() -> None:
    # per_model: the experts spend D + 8·D' together; one model that spends as much is better where k is large.
    mixed = law(0.05, 20.0, 0.3)
    found = plan(mixed, N, T, K, "per_model", extrapolate=True)
    told = found.baselines["dense_equal_compute"]
    d, s = found.d_pretrain, found.d_special
    assert told["d_pretrain"] == round(d + K * s)
    pairs = [
        [float(formula("effective_data", TRUTH | {"k": k}, np.array(N), *(np.array(x) for x in point)))
         for point in ((d, s), (d + K * s, 0.0))]
        for k in (k_of(0.05), k_of(20.0))
    ]
    better = [ours < theirs for ours, theirs in pairs]
    assert better == [True, False], "the case was made so that the draws disagree"
    assert told["beaten"] == 0.7
    most = plan(law(0.05, 20.0, 0.7), N, T, K, "per_model", extrapolate=True)
    assert most.baselines["dense_equal_compute"]["beaten"] == 0.3
    assert most.decision in ("beaten", "undetermined")
    assert any("dense, equal compute is better than this plan in 70% of draws" in note for note in most.notes)
    never = plan(bare(exact("effective_data", TRUTH | {"k": 40.0, "g": 1.0})), N, T, K, "per_model")
    assert never.baselines["dense_equal_compute"]["beaten"] is None, "the plan itself"


def test_every_baseline_has_a_share() -> None:
    found = plan(bare(exact("effective_data", draws=20, spread=0.001)), N, T, K, "per_model")
    assert set(found.baselines) == {"dense", "80/20", "split_at_0", "dense_equal_compute"}
    assert all(0 <= told["beaten"] <= 1 for told in found.baselines.values())
