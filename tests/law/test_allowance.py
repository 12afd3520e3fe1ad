"""What a few runs could not have shown is in the intervals of their law; what many would have shown is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from splitjax.law import LawFit, fit, plan
from splitjax.law.fitting.allowance import gain
from splitjax.law.fitting.combined import Combined
from splitjax.law.fitting.correction import Runs

from .synthetic import table
from .test_correction import bent

N, T, K = 3e6, 4e8, 4
FEW = {"sizes": (3e5, 6e5, 1.2e6), "pretrain": (0.0, 1e8, 4e8), "special": (0.0, 1e8)}


@pytest.fixture(scope="module")
def few() -> LawFit:
    return fit(table("effective_data", noise=0.004, **FEW), "effective_data", bootstrap=60)


def test_few_runs_could_not_show_it_and_many_would(few: LawFit) -> None:
    assert few.chosen.correction is None
    assert few.chosen.allowance is not None
    assert few.chosen.allowance.scale == pytest.approx(0.013)  # 1.2 % in level and 0.5 % in shape
    many = fit(table("effective_data", noise=0.003), "effective_data", bootstrap=60).chosen
    assert many.correction is many.allowance is None
    off = fit(bent(table("effective_data", noise=0.003), 0.02, 0), "effective_data", bootstrap=20).chosen
    assert off.correction is not None
    assert off.allowance is None


def test_intervals_allow_for_it_and_the_prediction_stays(few: LawFit, monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(few, N, T, K)
    assert "So few runs could not show how far the law is off; the intervals allow for 1.3 %, as is usual." in \
        [note.replace("1.3%", "1.3 %") for note in found.notes]
    assert any("could not show" in note for note in few.notes)
    assert few.summary()["allowance"]["level"] == 0.012
    monkeypatch.setattr(Combined, "allowance", None)
    bare = plan(dataclasses.replace(few), N, T, K)
    assert found.split_fraction == bare.split_fraction
    assert found.predicted_loss == bare.predicted_loss
    for name in ("interval", "loss_interval", "flat_region"):
        wide, narrow = getattr(found, name), getattr(bare, name)
        assert wide[1] - wide[0] > 1.1 * (narrow[1] - narrow[0]), name
    assert not any("could not show" in note for note in bare.notes)


def test_it_vanishes_at_the_runs_and_opens_away_from_them(few: LawFit) -> None:
    allowed = few.chosen.allowance
    assert allowed is not None
    sizes = np.array([3e5, 3e6, 3e8])
    spread = allowed.at(sizes, np.full(3, 1e8), np.full(3, 1e8), draws=True).std(0)
    assert spread[0] < 0.004  # a run: its noise
    assert spread[0] < spread[1] < spread[2]
    assert spread[2] == pytest.approx(0.013, rel=0.25)
    assert not allowed.at(sizes, np.full(3, 1e8), np.full(3, 1e8)).any()


def test_without_draws_nothing_is_allowed_for() -> None:
    assert fit(table("effective_data", noise=0.004, **FEW), "effective_data", bootstrap=0).chosen.allowance is None


def test_what_a_misfit_would_gain_by_hand() -> None:
    """Three runs, noise 1, a misfit of variances 3, 8 and 15 whose first the law follows: ½ log(12.5² / (9 · 16))."""
    first = np.array([[1.0], [0.0], [0.0]])
    assert gain(np.diag([3.0, 8.0, 15.0]), first, 1.0) == pytest.approx(0.5 * np.log(12.5**2 / (9 * 16)))
    whole = 0.5 * (3 * np.log(29 / 3) - np.log(4 * 9 * 16))
    assert gain(np.diag([3.0, 8.0, 15.0]), first[:, :0], 1.0) == pytest.approx(whole)


def test_a_saved_law_allows_for_as_much(few: LawFit, tmp_path) -> None:
    few.save(tmp_path / "law.json")
    assert plan(LawFit.load(tmp_path / "law.json"), N, T, K).to_json() == plan(few, N, T, K).to_json()


def test_thousands_of_runs_are_asked_by_some_of_them() -> None:
    rows = table("effective_data", noise=0.01, sizes=np.geomspace(1e5, 1e7, 12), pretrain=np.geomspace(1e6, 1e8, 12),
                 special=np.geomspace(1e5, 1e7, 12))
    seen = Runs.of_table(rows, np.ones(len(rows), bool))
    assert len(rows) == 1728
    assert len(seen.n) == 400
    assert seen.of.shape == (400, 1728)
    at = seen.of.argmax(1)
    assert (rows.n_params[at] == seen.n).all()
    assert (rows.d_special[at] == seen.s).all()
