"""Where the chosen family cannot predict a corner, the best that can speaks for it, and is told beside it."""

from __future__ import annotations

import dataclasses

import numpy as np

from splitjax import law

from .synthetic import TRUTHS, exact, table

BOTH = law.fit(
    table("effective_data", noise=0.005, pretrain=(0.0, 2e6, 6e6, 2e7, 6e7)),
    family=["multiplicative", "effective_data"], bootstrap=10, seed=0,
)  # fmt: skip


def test_the_speaker_of_a_corner_is_told_with_its_own_split() -> None:
    chosen = dataclasses.replace(
        BOTH, families=(BOTH.named("multiplicative"), BOTH.named("effective_data")), near=("multiplicative",)
    )
    found = law.plan(chosen, n_params=1e7, tokens=3e8, experts=4)
    assert found.split_fraction in (0.0, 1.0)
    assert found.family == "effective_data", "the family that predicts the corner"
    assert set(found.by_family) == {"multiplicative", "effective_data"}
    assert any("effective_data speaks for that corner" in note for note in found.notes)
    other = dataclasses.replace(chosen, near=("effective_data",), families=chosen.families[::-1])
    corner = law.plan(other, n_params=1e7, tokens=3e8, experts=4)
    assert found.baselines["dense"]["predicted_loss"] == corner.baselines["dense"]["predicted_loss"]
    low = min(told["interval"][0] for told in found.by_family.values())
    high = max(told["interval"][1] for told in found.by_family.values())
    assert found.interval == (low, high)


def test_a_family_that_predicts_both_corners_speaks_for_itself() -> None:
    alone = dataclasses.replace(
        BOTH, families=(BOTH.named("effective_data"), BOTH.named("multiplicative")), near=("effective_data",)
    )
    found = law.plan(alone, n_params=1e7, tokens=3e8, experts=4)
    assert set(found.by_family) == {"effective_data"}
    assert np.isfinite(found.curve.loss).all()


def test_a_corner_needs_its_speaker_to_prefer_it_too() -> None:
    """The speaker puts the corner far below the chosen family's best, but would itself split: so does the plan."""
    low = exact("effective_data", draws=5, spread=0.01)
    high = exact("hernandez", {**TRUTHS["hernandez"], "E": 2.5}, draws=5, spread=0.01)
    mixed = dataclasses.replace(high, families=(high.chosen, low.chosen), near=("hernandez",))
    budget = {"n_params": 3e6, "tokens": 4e8, "experts": 2}
    assert 0 < law.plan(low, **budget).split_fraction < 1
    found = law.plan(mixed, **budget)
    assert found.baselines["dense"]["predicted_loss"] < found.predicted_loss
    alone = law.plan(low, **budget).split_fraction
    assert found.baselines["dense"]["beaten"] == law.plan(low, **budget).baselines["dense"]["beaten"] == 1.0, alone
    assert 0 < found.split_fraction < 1
    assert found.decision == "split"
    # With many experts the speaker itself trains one model, and says so for both.
    many = {"n_params": 3e6, "tokens": 4e7, "experts": 64}
    assert law.plan(low, **many).decision == "never_split"
    spoken = law.plan(mixed, **many)
    assert spoken.decision == "never_split"
    # At the corner the curve and what is as good are the speaker's: another family's would end in a step.
    assert spoken.family == "effective_data"
    assert spoken.flat_region == law.plan(low, **many).flat_region
    assert spoken.flat_region[0] < 1
