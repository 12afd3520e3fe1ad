"""The four figures of the first screen, by hand: gains, losses, corners, models that diverged."""

from __future__ import annotations

from typing import Any

import pytest

from splitjax.reporting import first_screen
from splitjax.reporting.verdict import judge

from . import made_up


def facts(plan: dict[str, Any], results: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(fact.name, fact.value, fact.note) for fact in first_screen.facts(plan, results, judge(plan, results))]


def gained(results: dict[str, Any], name: str, value: float, error: float = 0.5) -> None:
    results["gains"][f"planned_vs_{name}"] = dict.fromkeys(("routed", "oracle"), made_up.gain(value, error))


def test_a_split_that_paid() -> None:
    """50 · 0.6² + 0.1 and 50 · 0.4² + 0.1 per cent; a prediction of 3.9 for a loss of 4.0."""
    results = made_up.results()
    results["models"]["planned"]["validation"] = {"mean": 4.0}
    assert facts(made_up.plan(predicted_loss=3.9), results) == [
        ("Best split, share of the budget", "30–60 %", "law: 40 %; measured: 40 %"),
        ("Perplexity against one model", "−18.1 ± 0.5 %", "better, at equal compute"),
        ("Perplexity against 80/20", "−8.1 ± 0.5 %", "better, at equal compute"),
        ("The law's error at its split", "−2.5 % of the loss", "predicted 3.900, measured 4.000"),
    ]
    assert facts(made_up.plan(predicted_loss=4.8), results)[3][1] == "+20.0 % of the loss"


@pytest.mark.parametrize(("gain", "told"), [
    (0.9, ("−0.9 ± 0.5 %", "within the noise, with 5.0 times the compute")),
    (1.1, ("−1.1 ± 0.5 %", "better, with 5.0 times the compute")),
    (-1.1, ("+1.1 ± 0.5 %", "worse, with 5.0 times the compute")),
])
def test_a_gain_is_held_against_its_noise_and_its_compute(gain: float, told: tuple[str, str]) -> None:
    results = made_up.results()
    results["models"]["dense"]["tokens"] //= 5
    gained(results, "dense", gain)
    assert facts(made_up.plan(), results)[1][1:] == told


def test_a_better_split_is_named_where_the_planned_one_is_expected() -> None:
    """At 60 %, 4 ± 1 per cent better than the planned one; then 80/20, 9 per cent better."""
    results = made_up.results()
    results["models"]["split at 60 %"] = made_up.model(3.9, 0.6)
    gained(results, "split at 60 %", -4.0, 1.0)
    _, against, habit, _ = facts(made_up.plan(), results)
    assert against[2] == habit[2] == "better, at equal compute (split at 60 %)"
    gained(results, "80/20", -9.0)
    _, against, habit, _ = facts(made_up.plan(), results)
    assert against[2] == "better, at equal compute (split at 80 %)"
    assert habit == ("Perplexity against 80/20", "–", "the same model")


def test_one_model_is_held_against_the_best_split() -> None:
    results = made_up.results()
    results["models"]["planned"] |= {"fraction": 1.0}
    results["models"]["split at 60 %"] = made_up.model(4.05, 0.6)
    gained(results, "80/20", 8.0)
    gained(results, "split at 60 %", 3.0)
    results["models"]["planned"]["after_prefix"] = {"routed": {"mean": 2.0}, "router": None}
    plan = made_up.plan(split_fraction=1.0, interval=[0.996, 1.0], decision="never_split")
    assert facts(plan, results)[:3] == [
        ("Best split, share of the budget", "100 %", "law: 100 %; measured: 100 %"),
        ("One model against the best split", "−3.0 ± 0.5 %", "better, at equal compute (split at 60 %)"),
        ("Test perplexity, routed", "7.4", "of the planned model"),
    ]
    del results["models"]["split at 60 %"]
    assert facts(plan, results)[1][1:] == ("−8.0 ± 0.5 %", "better, at equal compute")
    assert [first_screen._span(*ends) for ends in ((0.996, 1.0), (0.2, 0.204), (0.0, 0.016))] == [
        "100 %", "20 %", "0–2 %"]


def test_what_diverged_or_was_not_asked_is_said() -> None:
    results = made_up.results()
    results["gains"]["planned_vs_dense"]["routed"] = dict.fromkeys(made_up.gain(1.0))
    del results["models"]["80/20"], results["gains"]["planned_vs_80/20"]
    plan = {"decision": "explicit", "split_fraction": 0.75}
    where, against, habit, law = facts(plan, results)
    assert where == ("Best split, share of the budget", "75 %", "set by the config")
    assert against == ("Perplexity against one model", "–", "diverged")
    assert habit == ("Perplexity against 80/20", "–", "the same model")
    assert law == ("Test perplexity, routed", "54.6", "of the planned model"), "e to the fourth"
    results["models"]["planned"]["validation"] = {"mean": None}
    assert facts(made_up.plan(), results)[3][0] == "Test perplexity, routed"
    results["models"]["planned"]["after_prefix"] = {"routed": {"mean": None}, "router": "prefix"}
    assert facts(made_up.plan(), results)[3][1] == "diverged"


def test_where_no_experts_are_left_the_planned_ones_are_told_as_diverged() -> None:
    results = made_up.results()
    del results["models"]["80/20"], results["gains"]["planned_vs_80/20"]
    results["models"]["planned"]["after_prefix"] = {"routed": {"mean": None}, "router": "prefix"}
    results["gains"]["planned_vs_dense"] = dict.fromkeys(("routed", "oracle"), dict.fromkeys(made_up.gain(1.0)))
    assert [fact[1] for fact in facts(made_up.plan(), results)[1:3]] == ["–", "–"]
    assert facts(made_up.plan(), results)[1][2] == "diverged"
