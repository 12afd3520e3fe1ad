"""The verdict says what the numbers say: whether before where, and never two things that contradict each other."""

from __future__ import annotations

import math
from typing import Any

import pytest

from splitjax.reporting.judging.measured_edges import edge
from splitjax.reporting.verdict import judge

TOKENS = 1000


def gain(perplexity: float, error: float) -> dict[str, Any]:
    ratio = 1 - perplexity / 100
    one = {"nats": -math.log(ratio), "error": error / 100 / ratio, "perplexity": perplexity, "perplexity_error": error}
    return {"routed": one, "oracle": one}


def model(fraction: float, loss: float, tokens: int = TOKENS, router: str = "prefix") -> dict[str, Any]:
    return {
        "fraction": fraction, "tokens": tokens, "test": {"domains": [3.0, 3.1]},
        "after_prefix": {"router": router, "routed": {"mean": loss}},
    }


def results(
    dense: float, habit: float, error: float = 0.4, accounting: str = "total", router: str = "prefix",
    planned: float = 0.22,
) -> dict[str, Any]:
    """Gains of the planned model over one model and over 80/20, in per cent."""
    return {
        "gains": {"planned_vs_dense": gain(dense, error if dense else 0.0), "planned_vs_80/20": gain(habit, error)},
        "budget": {"accounting": accounting}, "prefix": 32, "windows": 64, "domains": ["sea", "law"],
        "models": {
            "planned": model(planned, 3.0, router=router), "dense": model(1.0, 3.0 + dense / 100),
            "80/20": model(0.8, 3.0 + habit / 100), "seed": {"test": {"domains": [3.5, 3.6]}},
        },
        "costs": {"planned_flops": 1e12, "planned_tokens": TOKENS},
    }


def compared(found: dict[str, Any], fraction: float, better: float, error: float) -> dict[str, Any]:
    """With a further split, better than the planned one by so many per cent."""
    name = f"split at {100 * fraction:g} %"
    found["gains"][f"planned_vs_{name}"] = gain(-better, error)
    found["models"][name] = model(fraction, 3.0 - better / 100)
    return found


def plan(decision: str = "split", fraction: float = 0.22, **more: Any) -> dict[str, Any]:
    return {
        "decision": decision, "split_fraction": fraction, "interval": [0.15, 0.31], "flat_region": [0.1, 0.38],
        "baselines": {"dense": {"beaten": 0.3}, "80/20": {"beaten": 0.6}, "split_at_0": {"beaten": None}},
    } | more


def test_a_split_that_paid() -> None:
    found = judge(plan(), results(6.04, 2.5))
    assert found.answer == "split"
    assert found.text == (
        "Split. Experts beat one model by 6.0 ± 0.4 % perplexity at equal compute; they are better than the customary "
        "80/20 split by 2.5 ± 0.4 %. Best split 15 to 31 % (law: 22 %; measured: 22 %)."
    )
    assert found.terms == (
        "Test text, routed by a 32-token prefix and scored after it; accounting total. ± is one standard error over 64 "
        "test windows a domain, of one training seed."
    )
    (step,) = found.next
    assert (str(step), step.command) == (
        "Take the experts split at 22 % and their router. (no training)", "splitjax export RUN --out models"
    )
    assert found.to_json()["best_split"] == [0.15, 0.31]


def test_another_router_is_named() -> None:
    assert "routed by nearest centroid of a 32-token prefix" in judge(plan(), results(6, 2, router="centroid")).terms


def test_a_split_that_did_not_pay_and_one_that_no_one_can_tell() -> None:
    lost = judge(plan(), results(-3.0, 1.0))
    assert lost.whether.startswith("Do not split: train one model. Experts lose to it by 3.0 ± 0.4 %")
    assert lost.where.startswith("Best split, if any: 15 to 31 %")
    assert lost.next[0].command.endswith("--model dense")
    even = judge(plan(), results(0.5, 1.0))
    assert even.whether.startswith("Split or not: no difference shows. Experts are better than one model by 0.5 ± 0.4")
    (step,) = even.next
    assert step.price == "6e+12 FLOPs, 6.0 times the planned model"
    assert step.command == "splitjax run RUN train.seeds=3 --redo train"


@pytest.mark.parametrize(("gain", "answer"), [
    (0.79, "no_difference"), (0.81, "split"), (-0.79, "no_difference"), (-0.81, "one_model"), (0.0, "no_difference"),
])
def test_a_difference_shows_from_two_standard_errors_on(gain: float, answer: str) -> None:
    assert judge(plan(), results(gain, 2.5, 0.4)).answer == answer


def test_equal_compute_is_the_headline_under_per_model() -> None:
    found = results(41.5, 12.0, 2.0, accounting="per_model")
    found["models"]["planned"]["tokens"] = 5 * TOKENS
    found["models"]["dense_equal_compute"] = model(1.0, 3.03, 5 * TOKENS)
    found["gains"]["planned_vs_dense_equal_compute"] = gain(3.0, 4.0)
    told = judge(plan(), found)
    assert told.answer == "no_difference"
    assert "than one model by 3.0 ± 4.0 % perplexity at equal compute, which is within the noise" in told.whether
    assert told.whether.endswith("Beside one model of as many tokens as one expert saw they are better by 41.5 ± 2.0 "
                                 "%, with 5.0 times the compute.")
    found["gains"]["planned_vs_dense_equal_compute"] = gain(-9.0, 1.0)
    assert judge(plan(), found).next[0].command.endswith("--model dense_equal_compute")


@pytest.mark.parametrize(
    ("decision", "fraction", "words"),
    [
        ("split_at_once", 0.0, "Best split 0 to 31 % (law: 0 %; measured: 0 %)."),
        ("undetermined", 0.5, "Where is not known: 15 to 50 % of the budget before the split (law: 50 %; measured"),
        ("beaten", 0.5, "(law: 50 %, but one model is better in 70 % of its draws; measured: 50 %)."),
    ],
)
def test_corners_and_doubts_are_said_plainly(decision: str, fraction: float, words: str) -> None:
    assert words in judge(plan(decision, fraction), results(9.0, 4.0, planned=fraction)).where


def test_a_config_that_set_the_split_is_told_beside_the_law() -> None:
    with_law = judge(plan("explicit", 0.5, law_split_fraction=0.25), results(9.0, 4.0, planned=0.5))
    assert with_law.where == "Best split 15 to 50 % (law: 25 %; measured: 50 %). The config set it to 50 %."
    without = {"decision": "explicit", "split_fraction": 0.5}
    told = judge(without, results(9.0, 4.0, planned=0.5))
    assert told.where == "The split was set to 50 %; lowest loss measured: 50 %."
    assert told.low is None


def test_one_model_is_held_against_the_best_split_that_was_measured() -> None:
    kept = results(0.0, 4.0, planned=1.0)
    never = judge(plan("never_split", 1.0, interval=[1.0, 1.0]), kept)
    assert never.whether == (
        "Do not split: train one model. It beats the 80/20 split by 4.0 ± 0.4 % perplexity at equal compute."
    )
    assert never.where == "Best split 100 %, one model (law: 100 %; measured: 100 %)."
    assert judge(plan("never_split", 1.0), results(0.0, 0.5, planned=1.0)).answer == "no_difference"


def test_the_law_expected_no_gain_and_a_split_was_better() -> None:
    found = judge(plan("never_split", 1.0, interval=[0.9, 1.0]), results(0.0, -4.0, planned=1.0))
    assert found.whether.startswith("Split. Experts split at 80 % beat one model by 3.8 ± 0.4 %")
    assert "Best split 0 to 100 % (law: 100 %; measured: 80 %)." in found.text
    assert found.text.endswith("A split at 80 % was better than the planned 100 % by 4.0 ± 0.4 %: the law missed it.")
    assert found.next[0].command.endswith("--model 80/20")


def test_a_better_measured_split_leads_and_the_range_agrees_with_it() -> None:
    found = judge(plan(flat_region=[0.2, 0.3]), compared(results(6.0, 2.5), 0.40, 3.3, 1.1))
    assert found.whether.startswith("Split. Experts split at 40 % beat one model by ")
    assert "Best split 22 to 80 % (law: 22 %; measured: 40 %)." in found.text
    assert found.text.endswith("A split at 40 % was better than the planned 22 % by 3.3 ± 1.1 %: the law missed it.")
    assert found.next[0].command == "splitjax export RUN --out models --model 'split at 40 %'"
    inside = compared(results(6.0, 2.5), 0.28, 3.3, 1.1)
    assert "Best split 22 to 31 % (law: 22 %; measured: 28 %)." in judge(plan(), inside).where
    assert judge(plan(), inside).text.endswith("the law could not tell the two.")
    assert judge(plan("explicit"), inside).text.endswith("by 3.3 ± 1.1 %.")


def test_a_law_that_was_beaten_is_asked_to_learn_from_it() -> None:
    beaten = compared(results(6.0, 2.5), 0.28, 3.3, 1.1)
    taken, learned = judge(plan(), beaten).next
    assert taken.what == "Take the experts split at 28 % and their router."
    assert learned.command == "splitjax fit RUN --with-results"
    within = compared(results(6.0, 2.5), 0.28, 1.0, 1.1)
    for told in (judge(plan(), within), judge(plan("explicit"), beaten)):
        assert not any("with-results" in step.command for step in told.next)


def test_within_the_noise_the_range_only_grows() -> None:
    found = judge(plan(), compared(results(6.0, 2.5), 0.40, 1.0, 1.1))
    assert found.whether.startswith("Split. Experts beat one model by 6.0")
    assert found.where == "Best split 15 to 40 % (law: 22 %; measured: 40 %)."
    assert not found.beside


def test_a_split_that_did_better_only_with_the_label_known_is_said_too() -> None:
    found = compared(results(6.0, 2.5), 0.40, -0.2, 1.0)
    found["gains"]["planned_vs_split at 40 %"]["oracle"] = gain(-1.8, 0.7)["oracle"]
    told = judge(plan(), found)
    assert told.beside == ("A split at 40 % was better than the planned 22 % by 1.8 ± 0.7 % with the label known: the "
                           "law missed it.",)
    assert told.where == "Best split 15 to 40 % (law: 22 %; measured: 22 %)."


def test_an_edge_that_was_not_measured_in_pairs_is_the_difference_with_both_errors() -> None:
    found = results(6.0, 2.5, 0.3)
    over = edge(found, "80/20", "dense")
    assert over is not None
    assert over.value == pytest.approx(100 * (1 - 0.94 / 0.975))
    errors = math.hypot(0.3 / 0.94, 0.3 / 0.975)
    assert over.error == pytest.approx(0.94 / 0.975 * errors)
    assert edge(found, "dense", "dense") is not None
    assert edge(found, "dense", "absent") is None


def test_the_planned_split_is_one_number_whatever_whole_steps_make_of_it() -> None:
    """Planned at 53.6 %, trained at 53.4 %, which rounds to another per cent."""
    found = compared(results(5.0, 2.0, planned=0.5343), 0.4, 4.0, 0.5)
    told = judge(plan(fraction=0.5362, interval=[0.42, 0.69], flat_region=[0.3, 0.7]), found)
    assert "54 %" in told.text
    assert "53" not in told.text + str(told.next)
    assert found["models"]["planned"]["fraction"] == 0.5343
    one = judge(plan("explicit", fraction=0.994), results(5.0, 2.0, planned=1.0))
    assert "measured: 100 %" in one.text, "a corner stays one"
