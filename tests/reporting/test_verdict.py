"""The sentence says what the numbers say."""

from __future__ import annotations

from typing import Any

import pytest

from splitjax.reporting.verdict import headline


def gain(perplexity: float, error: float) -> dict[str, Any]:
    one = {"nats": perplexity / 100, "error": error / 100, "perplexity": perplexity, "perplexity_error": error}
    return {"routed": one, "oracle": one}


def results(
    dense: float, habit: float, error: float = 0.4, accounting: str = "total", router: str = "prefix"
) -> dict[str, Any]:
    return {
        "gains": {"planned_vs_dense": gain(dense, error), "planned_vs_80/20": gain(habit, error)},
        "budget": {"accounting": accounting},
        "prefix": 32,
        "domains": ["sea", "law"],
        "models": {"planned": {"after_prefix": {"router": router}, "test": {"domains": [3.0, 3.1]}}},
    }


def plan(decision: str = "split", fraction: float = 0.22) -> dict[str, Any]:
    return {
        "decision": decision,
        "split_fraction": fraction,
        "interval": [0.15, 0.31],
        "flat_region": [0.1, 0.38],
        "baselines": {"dense": {"beaten": 0.3}, "80/20": {"beaten": 0.6}, "split_at_0": {"beaten": None}},
    }


def test_a_split_that_paid() -> None:
    assert headline(plan(), results(6.04, 2.5)) == (
        "Split at 22 %, 90 % interval 15–31, nothing in 10–38 % can be told from it; experts beat dense by 6.0 ± 0.4 % "
        "perplexity, beat 80/20 by 2.5 ± 0.4 % perplexity (accounting total; routed by a 32-token prefix, scored "
        "after it). At equal training tokens, splitting paid."
    )


def test_another_router_is_named() -> None:
    assert "routed by nearest centroid of a 32-token prefix" in headline(plan(), results(6, 2, router="centroid"))


def test_a_split_that_did_not() -> None:
    text = headline(plan(), results(-3.0, 1.0, accounting="per_model"))
    assert "experts lose to dense by 3.0 ± 0.4 %" in text
    assert "accounting per_model" in text
    assert text.endswith("splitting did not pay: train one model at this size and budget.")
    assert headline(plan(), results(0.5, 1.0)).endswith("neither pays nor costs.")


@pytest.mark.parametrize(
    ("decision", "fraction", "words"),
    [
        ("never_split", 1.0, "Do not split: train one model"),
        ("split_at_once", 0.0, "Split at once: train the experts from the start"),
        ("undetermined", 0.5, "The sweep cannot tell where to split; its best guess is 50 %"),
        ("beaten", 0.5, "The law's best guess is 50 %, but dense is better in 70 % of its draws, 90 % interval"),
        ("explicit", 0.5, "Split at 50 %, as the config says"),
        ("explicit", 1.0, "Do not split: train one model, as the config says"),
        ("explicit", 0.0, "Split at once: train the experts from the start, as the config says"),
    ],
)
def test_corners_are_said_plainly(decision: str, fraction: float, words: str) -> None:
    assert headline(plan(decision, fraction), results(0.0, 4.0)).startswith(words)


def test_dense_against_itself_is_not_a_comparison() -> None:
    text = headline(plan("never_split", 1.0), results(0.0, 4.0, error=0.4))
    assert "beat dense" not in text
    assert "dense beats the 80/20 split by 4.0 ± 0.4 %" in text


@pytest.mark.parametrize(
    ("habit", "words"),
    [
        (4.0, "At equal training tokens the 80/20 split did not pay."),
        (-4.0, "At equal training tokens the 80/20 split was better."),
        (0.5, "Against the 80/20 split the difference is within the noise."),
    ],
)
def test_one_model_is_held_against_the_customary_split(habit: float, words: str) -> None:
    by_law = headline(plan("never_split", 1.0), results(0.0, habit))
    assert by_law.endswith(f"The law expects no gain from splitting at this size and budget. {words}")
    asked_for = headline(plan("explicit", 1.0), results(0.0, habit))
    assert asked_for.endswith(f"scored after it). {words}")
    assert "law" not in asked_for


def test_no_law_is_blamed_for_a_split_that_the_config_gave() -> None:
    found = results(6.0, 2.5)
    found["gains"]["planned_vs_split at 40 %"] = gain(-3.3, 1.1)
    assert headline(plan("explicit"), found).endswith("was better still, by 3.3 ± 1.1 % (routed).")


def test_a_measured_split_that_did_better_is_not_hidden() -> None:
    found = results(6.0, 2.5)
    found["gains"]["planned_vs_split at 40 %"] = gain(-3.3, 1.1)
    assert headline(plan(), found).endswith(
        "A split at 40 % was better still, by 3.3 ± 1.1 % (routed): the law missed it."
    )
    found["gains"]["planned_vs_split at 40 %"] = gain(-1.0, 1.1)
    assert headline(plan(), found).endswith("splitting paid.")


def test_the_law_is_not_said_to_miss_what_it_called_as_good() -> None:
    found = results(6.0, 2.5)
    found["gains"]["planned_vs_split at 40 %"] = gain(-3.3, 1.1)
    for region, told in (((0.2, 0.4), ": the law could not tell the two."), ((0.41, 0.9), ": the law missed it.")):
        assert headline(plan() | {"flat_region": region}, found).endswith(f"(routed){told}")


def test_a_split_that_did_better_only_with_the_label_known_is_said_too() -> None:
    found = results(6.0, 2.5)
    found["gains"]["planned_vs_split at 40 %"] = {
        "routed": gain(0.2, 1.0)["routed"],
        "oracle": gain(-1.8, 0.7)["oracle"],
    }
    assert headline(plan(), found).endswith("by 1.8 ± 0.7 % (label known): the law missed it.")
