"""Noise redrawn, beside figures worked out by hand: few rows, unequal weights, a row that was not fitted."""

from __future__ import annotations

import numpy as np
import pytest

from splitjax.law import Table
from splitjax.law.fitting.bootstrap import redrawn
from splitjax.law.fitting.solver import Loss

OFF = np.array([0.01, -0.03, 0.02, 0.05, -0.01, 0.4])
"""By how much each row's log loss is off; the last was not fitted."""
WEIGHT = np.array([1.0, 4.0, 1.0, 9.0, 1.0, 0.0])
PREDICTED = np.array([2.0, 3.0, 2.5, 4.0, 3.5, 2.0])
SPENT = 2
WIDER = np.sqrt(5 / (5 - SPENT))


def rows(domains: str, runs: str | None = None) -> Table:
    return Table.from_rows(
        {"n_params": 1e6 * (i + 1), "d_pretrain": 1e7, "d_special": 0.0, "loss": PREDICTED[i] * np.exp(OFF[i]),
         "weight": WEIGHT[i], "domain": domains[i]} | ({"run": runs[i]} if runs else {})
        for i in range(len(OFF))
    )


def drawn(table: Table, loss: Loss = Loss("huber", 1.0), draws: int = 400) -> np.ndarray:  # noqa: B008
    return redrawn(table, PREDICTED, WEIGHT > 0, loss, SPENT, draws, np.random.default_rng(0))


def test_residuals_are_widened_by_the_parameters_spent_and_scaled_by_the_weights() -> None:
    """Row i receives √(n/(n−p)) · √w_j · r_j / √w_i of a row j of its own domain, n = 5 and p = 2."""
    domains = "aabbaa"
    noise = drawn(rows(domains))
    for i in range(5):
        donors = [j for j in range(5) if domains[j] == domains[i]]
        expected = sorted(WIDER * np.sqrt(WEIGHT[j] / WEIGHT[i]) * OFF[j] for j in donors)
        np.testing.assert_allclose(np.unique(noise[:, i].round(12)), expected, atol=1e-10)


def test_as_many_parameters_as_rows_leave_one_row_to_judge_by() -> None:
    table = rows("aaaaaa")
    noise = redrawn(table, PREDICTED, WEIGHT > 0, Loss("huber", 1.0), 9, 200, np.random.default_rng(0))
    assert np.abs(noise[:, 0]).max() == pytest.approx(np.sqrt(5 / 1) * 3 * 0.05)


def test_a_run_receives_the_residuals_of_one_run_by_domain() -> None:
    """Runs x (a, b), y (a, b) and z (a alone): what z has no row for it gives from its only one."""
    noise = drawn(rows("abab" + "aa", "xxyyzz"))
    told = np.sqrt(WEIGHT) * OFF * WIDER
    pairs = {tuple(np.round(noise[k, :2] * np.sqrt(WEIGHT[:2]), 10)) for k in range(len(noise))}
    assert pairs == {tuple(np.round(told[list(at)], 10)) for at in ((0, 1), (2, 3), (4, 4))}


def test_rows_that_the_fit_passes_through_are_replaced_and_the_rest_smoothed_without_more_variance() -> None:
    """Huber's threshold below the median: the two smallest residuals, within it, say nothing of the noise."""
    off = np.array([0.0, 1e-5, 0.03, -0.02, 0.05, -0.01, 0.02])
    table = Table.from_rows({"n_params": 1e6 * (i + 1), "d_pretrain": 1e7, "d_special": 0.0, "loss": 2.0 * np.exp(r)}
                            for i, r in enumerate(off))
    noise = redrawn(table, np.full(7, 2.0), np.ones(7, bool), Loss("huber", 1e-4), 2, 40_000, np.random.default_rng(0))
    told = off[2:]
    # A row that was not passed through is a donor by itself and for one of seven picks in two of seven besides.
    width = 1.06 * min(told.std(), 1.4826 * np.median(np.abs(told))) * 7**-0.2
    shrink = np.hypot(1.0, width / told.std())
    variance = 7 / 5 * (np.square(told).mean() + width**2) / shrink**2
    assert noise.mean() == pytest.approx(np.sqrt(7 / 5) * told.mean() / shrink, abs=2e-4)
    assert np.square(noise).mean() == pytest.approx(variance, rel=0.02)
