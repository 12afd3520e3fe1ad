"""Rows of weight 0 are kept, and say nothing: of the fit, its noise, its misfit or its errors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from splitjax.law import LawFit, Table, fit

from .synthetic import exact, table
from .test_correction import bent


def idle(off: float) -> tuple[Table, Table]:
    """A table of which every fourth row has weight 0 and a loss that is off, and the same without these rows."""
    rows = bent(table("effective_data", noise=0.002), 0.02, 1)
    mute = np.arange(len(rows)) % 4 == 1
    moved = dataclasses.replace(rows, weight=np.where(mute, 0.0, 1.0), loss=np.where(mute, off, 1.0) * rows.loss)
    return moved, moved.select(~mute)


@pytest.mark.parametrize("off", [1.012, 3.0])
def test_they_correct_nothing_and_stand_out_from_nothing(off: float) -> None:
    whole, left = (dataclasses.replace(exact("effective_data"), table=rows).chosen for rows in idle(off))
    assert whole.correction is not None
    assert left.correction is not None
    assert whole.correction.to_json() == left.correction.to_json()
    points = np.array([2e6, 2e7]), np.array([1e7, 1e8]), np.array([1e6, 0.0])
    np.testing.assert_allclose(whole.correction.at(*points), left.correction.at(*points), rtol=1e-12)
    assert (whole.n, whole.mre, whole.r2) == pytest.approx((left.n, left.mre, left.r2), rel=1e-12)
    assert whole.n == len(left.table)
    assert whole.told_apart() == left.told_apart()


def test_they_move_no_fit_and_no_draw() -> None:
    laws: list[LawFit] = [fit(rows, "effective_data", loss="squared", bootstrap=6) for rows in idle(1.3)]
    one, other = (law.families[0] for law in laws)
    assert one.n == other.n
    assert (one.objective, one.mre, one.r2) == pytest.approx((other.objective, other.mre, other.r2), rel=1e-5)
    for name, value in one.parameters().items():
        assert value == pytest.approx(other.parameters()[name], rel=1e-3), name
    for name, pair in one.intervals().items():
        assert pair == pytest.approx(other.intervals()[name], rel=1e-3), name
