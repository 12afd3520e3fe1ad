"""Where the chosen family cannot predict a corner, the best that can speaks for it, and is told beside it."""

from __future__ import annotations

import dataclasses

import numpy as np

from splitjax import law

from .synthetic import table

BOTH = law.fit(
    table("effective_data", noise=0.005, pretrain=(0.0, 2e6, 6e6, 2e7, 6e7)),
    family=["multiplicative", "effective_data"], bootstrap=10, seed=0,
)  # fmt: skip


def test_the_speaker_of_a_corner_is_told_with_its_own_split() -> None:
    chosen = dataclasses.replace(
        BOTH, families=(BOTH.named("multiplicative"), BOTH.named("effective_data")), near=("multiplicative",)
    )
    found = law.plan(chosen, n_params=1e7, tokens=3e8, experts=4)
    assert found.family == "multiplicative"
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
