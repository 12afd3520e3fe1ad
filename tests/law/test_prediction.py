"""One loss with its interval, and plans of a law of L(N, D) alone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import splitjax
from splitjax.config import UserError
from splitjax.law import LawFit, plan, plan_one_model, predict, size_one_model

from .bare import bare
from .synthetic import TRUTHS, exact, formula

TRUTH = TRUTHS["chinchilla"]


def dense_law(draws: int = 0, spread: float = 0.0) -> LawFit:
    """E + A/N^a + B/D^b, of a table without D'."""
    law = exact("chinchilla", draws=draws, spread=spread)
    return bare(dataclasses.replace(law, table=dataclasses.replace(law.table, has_special=False)))


def loss_of(n: float, d: float, p: dict[str, float] = TRUTH) -> float:
    return p["E"] + p["A"] / n ** p["a"] + p["B"] / d ** p["b"]


def draws_of(law: LawFit) -> list[dict[str, float]]:
    return [dict(zip(law.families[0].forms[0].names, x, strict=True)) for x in law.families[0].draws[0]]


def middle(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [5, 95], method="nearest")
    return float(low), float(high)


def test_a_prediction_is_the_formula_and_its_draws() -> None:
    law = dense_law(draws=100, spread=0.01)
    found = splitjax.predict(law, 5e6, 1e8)
    assert found.loss == pytest.approx(loss_of(5e6, 1e8))
    assert found.interval == pytest.approx(middle([loss_of(5e6, 1e8, p) for p in draws_of(law)]))
    assert found.interval[0] < found.loss < found.interval[1]
    assert (found.family, found.domain, found.notes) == ("chinchilla", None, ())
    assert "The law has no bootstrap draws: the intervals are points." in predict(dense_law(), 5e6, 1e8).notes
    json.dumps(found.to_json(), allow_nan=False)


def test_a_law_of_d_alone_says_what_one_model_comes_to() -> None:
    law = dense_law(draws=100, spread=0.01)
    found = plan_one_model(law, 5e6, 1e8)
    assert found.prediction.loss == pytest.approx(loss_of(5e6, 1e8))
    assert "cannot say whether to split" in found.notes[0]
    told = found.to_json()
    assert (told["decision"], told["split_fraction"]) == (None, None)
    assert told["loss_interval"] == pytest.approx(middle([loss_of(5e6, 1e8, p) for p in draws_of(law)]))
    with pytest.raises(UserError, match="no d_special column"):
        plan(law, 5e6, 1e8, 8)
    with pytest.raises(UserError, match="the law has a D'"):
        plan_one_model(exact("effective_data"), 5e6, 1e8)
    with pytest.raises(UserError, match=r"N = 1B is 100 times outside the fitted 300k to 10M"):
        plan_one_model(law, 1e9, 1e8)
    with pytest.raises(UserError, match="no family predicts held-out rows"):
        plan_one_model(dataclasses.replace(law, beats_mean=False), 5e6, 1e8)
    far = plan_one_model(law, 2e7, 1e9)
    assert far.notes[1:3] == ("N lies 2.0 times above the fitted range.", "T lies 5.0 times above the fitted range.")
    assert not any(note.startswith("D lies") for note in far.notes)
    with pytest.raises(UserError, match=r"T = 10B is 50 times outside the fitted 2M to 200M"):
        plan_one_model(law, 5e6, 1e10)


def best_n(work: float, p: dict[str, float] = TRUTH) -> float:
    """The N of least loss where N·D = work: a·A/N^a = b·B/D^b."""
    a, b = p["a"], p["b"]
    return (a * p["A"] / (b * p["B"])) ** (1 / (a + b)) * work ** (b / (a + b))


def test_the_best_n_of_a_compute_budget() -> None:
    law, flops = dense_law(draws=100, spread=0.01), 6e15
    found = size_one_model(law, flops)
    n = best_n(1e15)
    assert found.prediction.n_params == pytest.approx(n, rel=0.01)
    assert found.prediction.n_params * found.prediction.d_pretrain == pytest.approx(1e15)
    assert found.prediction.loss == pytest.approx(loss_of(n, 1e15 / n), rel=1e-6)
    assert found.n_interval == pytest.approx(middle([best_n(1e15, p) for p in draws_of(law)]), rel=0.02)
    assert found.n_interval[0] < 0.95 * n
    assert size_one_model(law, flops, flops_per_token=12.0).prediction.n_params == pytest.approx(best_n(5e14), rel=0.01)
    with pytest.raises(UserError, match="FLOPs must be positive"):
        size_one_model(law, 0.0)


def test_domains_and_weights_of_one_model() -> None:
    form = dataclasses.replace(exact("chinchilla").families[0].forms[0], domains=("easy", "hard"))
    p = TRUTH
    x = np.array([1.0, p["A"], p["B"], 3.0, p["A"], p["B"], p["a"], p["b"]])
    base = dense_law()
    law = bare(dataclasses.replace(base, families=(dataclasses.replace(base.families[0], forms=(form,), xs=(x,)),)))
    size = loss_of(5e6, 1e8) - p["E"]
    assert predict(law, 5e6, 1e8, domain="hard").loss == pytest.approx(3.0 + size)
    assert predict(law, 5e6, 1e8).loss == pytest.approx(2.0 + size)
    heavy = plan_one_model(law, 5e6, 1e8, {"easy": 3.0, "hard": 1.0})
    assert heavy.prediction.loss == pytest.approx(1.5 + size)
    with pytest.raises(UserError, match=r"no domain 'eas' in the law. Did you mean 'easy'"):
        predict(law, 5e6, 1e8, domain="eas")


def test_families_are_combined_or_asked_alone() -> None:
    one, two = exact("effective_data", draws=20, spread=0.01), exact("adapting", draws=20, spread=0.01)
    families = (one.families[0], two.families[0])
    law = bare(dataclasses.replace(one, families=families, weights={"effective_data": 0.75, "adapting": 0.25}))
    at = (np.array(5e6), np.array(1e8), np.array(1e6))
    losses = [float(formula(name, TRUTHS[name], *at)) for name in ("effective_data", "adapting")]
    found = predict(law, 5e6, 1e8, 1e6)
    assert (found.family, set(found.by_family)) == ("combined", {"effective_data", "adapting"})
    assert found.loss == pytest.approx(losses[0] ** 0.75 * losses[1] ** 0.25), "their geometric mean"
    assert [told["predicted_loss"] for told in found.by_family.values()] == pytest.approx(losses)
    alone = predict(law, 5e6, 1e8, 1e6, family="adapting")
    assert (alone.family, alone.by_family) == ("adapting", {})
    assert alone.loss == pytest.approx(losses[1])
    assert alone.interval == pytest.approx(found.by_family["adapting"]["interval"])
    with pytest.raises(UserError, match="family 'adaptin' was not fitted"):
        predict(law, 5e6, 1e8, family="adaptin")


def test_where_the_law_is_infinite_the_best_family_that_is_not_speaks() -> None:
    first, second = exact("additive", draws=20, spread=0.01), exact("effective_data", draws=20, spread=0.01)
    law = bare(dataclasses.replace(first, families=(first.families[0], second.families[0])))
    assert predict(law, 5e6, 1e8, 1e6).family == "additive"
    corner = predict(law, 5e6, 1e8)
    assert corner.family == "effective_data", "additive is infinite at D' = 0"
    expected = float(formula("effective_data", TRUTHS["effective_data"], np.array(5e6), np.array(1e8), np.array(0.0)))
    assert corner.loss == pytest.approx(expected)
    with pytest.raises(UserError, match="additive does not predict a loss at D = 100M, D' = 0"):
        predict(law, 5e6, 1e8, family="additive")
    with pytest.raises(UserError, match="no family of this law predicts a loss at D = 100M, D' = 0"):
        predict(bare(first), 5e6, 1e8)


def test_what_a_prediction_refuses() -> None:
    law = dense_law()
    with pytest.raises(UserError, match="the law has no D'"):
        predict(law, 5e6, 1e8, 1e6)
    for n, d in ((0.0, 1e8), (5e6, 0.0), (5e6, -1.0), (float("nan"), 1e8)):
        with pytest.raises(UserError, match="N must be positive"):
            predict(law, n, d)
    with pytest.raises(UserError, match=r"D = 10B is 50 times outside the fitted 2M to 200M.*--extrapolate"):
        predict(law, 5e6, 1e10)
    assert predict(law, 5e6, 1e10, extrapolate=True).loss == pytest.approx(loss_of(5e6, 1e10))
    guess = predict(dataclasses.replace(law, beats_mean=False), 5e6, 1e8)
    assert any("this loss is a guess" in note for note in guess.notes)
