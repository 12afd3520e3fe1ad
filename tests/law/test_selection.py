"""Errors on held-out rows, beside figures worked out by hand: runs of unequal sizes, two cuts, rows left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splitjax.law import Table, fit
from splitjax.law.fitting import selection
from splitjax.law.fitting.candidates import Bench
from splitjax.law.fitting.families import FAMILIES

LOSS = np.array([2.0, 4.0, 3.0, 5.0, 2.5, 4.5])
ROWS = Table.from_rows(
    {"n_params": 1e6, "d_pretrain": d, "d_special": 0.0, "loss": loss, "domain": domain, "run": run}
    for d, loss, domain, run in zip((1e7, 1e7, 2e7, 2e7, 4e7, 8e7), LOSS, "abababa", "xxyyzz", strict=False)
)
TESTS = {"far": np.array([0, 0, 0, 0, 1, 1], bool), "near": np.array([1, 1, 0, 0, 0, 1], bool)}
TOLD = {"far": np.array([9.0, 9.0, 9.0, 9.0, 2.6, 4.0]), "near": np.array([2.2, 4.4, 9.0, 9.0, 9.0, 4.5])}
SEEN = np.array([1, 1, 1, 1, 1, 0], bool)
"""The last row counts in neither cut."""


def test_a_standard_error_knows_that_rows_of_a_run_err_together() -> None:
    """Runs of 2, 2 and 1 rows around their mean of 3: sums -3, 6, -3; √(54 · 3/2) / 5, as cluster-robust fits say."""
    values, runs = np.array([1.0, 2.0, 4.0, 8.0, 0.0]), np.array([0, 0, 1, 1, 2])
    assert selection.clustered_se(values, runs) == pytest.approx(np.sqrt(54 * 1.5) / 5)
    alone = np.std(values, ddof=1) / np.sqrt(5)
    assert selection.clustered_se(values, np.arange(5)) == pytest.approx(alone), "runs of one row: the usual one"
    assert np.isnan(selection.clustered_se(values, np.zeros(5, int)))


def test_a_score_is_over_the_rows_that_count_of_every_cut() -> None:
    """Off by 0.1 of 2.5 in one cut, by 0.2 of 2 and 0.4 of 4 in the other."""
    found = selection.score(ROWS, TESTS, TOLD, SEEN)
    errors = np.array([0.04, 0.1, 0.1])
    assert found.n == 3
    assert found.mre == pytest.approx(0.08)
    assert found.by_axis == pytest.approx({"far": 0.04, "near": 0.1})
    # Against the mean of the rows that were fitted: 3.5 of the first four, 3.5 of the middle three.
    assert found.r2 == pytest.approx(1 - (0.1**2 + 0.2**2 + 0.4**2) / (1.0**2 + 1.5**2 + 0.5**2))
    sums = np.array([errors[0] - 0.08, (errors[1:] - 0.08).sum()])  # runs z and x
    assert found.se == pytest.approx(np.sqrt(np.square(sums).sum() * 2 / 1) / 3)


def test_the_mean_that_a_law_must_beat_is_of_the_fitted_rows_of_a_domain() -> None:
    """Of the first four rows a has 2 and 3, b 4 and 5; of the middle three a has 3 and 2.5, b 5."""
    found = selection.mean_errors(ROWS, TESTS, np.ones(6, bool))
    expected = [2.5 / 2.5 - 1, 4.5 / 4.5 - 1, 2.75 / 2.0 - 1, 5.0 / 4.0 - 1, 5.0 / 4.5 - 1]
    assert found == pytest.approx(np.abs(expected))
    assert selection.mean_errors(ROWS, TESTS, SEEN) == pytest.approx(np.abs([expected[0], *expected[2:4]]))


def test_run_errors_are_of_the_rows_that_count() -> None:
    """In the second cut run x is told 6.6 of 6, and of z no row counts."""
    assert selection.run_errors(ROWS, TESTS, TOLD, SEEN) == pytest.approx([0.04, 0.1])
    assert selection.run_errors(ROWS, TESTS, TOLD, np.ones(6, bool)) == pytest.approx([0.4 / 7, 0.1, 0.0])


def test_explained_variance_is_that_of_the_rows() -> None:
    told = LOSS + np.array([0.1, -0.2, 0.3, 0.0, 0.0, 0.2])
    assert selection.explained(LOSS, told) == pytest.approx(1 - 0.18 / (6 * np.var(LOSS)))
    assert selection.explained(np.ones(3), np.ones(3)) == 0.0


def test_an_axis_is_cut_where_a_tenth_of_the_rows_lies_above_and_two_values_stay_below() -> None:
    d = np.array([1.0] * 12 + [2.0] * 10 + [3.0] * 5 + [4.0] * 2 + [5.0])
    rows = Table.from_rows({"n_params": 1e6 * (1 + i % 2), "d_pretrain": 1e7 * x, "d_special": 0.0, "loss": 3 + i / 99}
                           for i, x in enumerate(d))
    (axis, test), = selection.cuts(rows, 0).items()
    assert axis == "d_pretrain", "two sizes are no axis"
    assert (d[test].min(), test.sum()) == (4.0, 3), "one of 30 rows is too few, three are a tenth"
    few = rows.select(d <= 3)
    assert d[d <= 3][selection.cuts(few, 0)["d_pretrain"]].tolist() == [3.0] * 5


def test_without_an_axis_five_folds_of_whole_runs_are_held_out() -> None:
    rows = Table.from_rows({"n_params": 1e6, "d_pretrain": 1e7, "d_special": 0.0, "loss": 3 + i, "run": f"r{i // 2}"}
                           for i in range(14))
    found = selection.cuts(rows, 0)
    assert list(found) == [f"fold {k}" for k in range(1, 6)]
    assert np.sum(list(found.values()), 0).tolist() == [1] * 14
    assert all((test[::2] == test[1::2]).all() and test.any() for test in found.values())


def test_an_axis_whose_largest_rows_not_every_family_predicts_compares_nothing() -> None:
    """D = 3 lies in rows that some family says nothing of: N alone is cut; without an axis, folds."""
    rows = Table.from_rows({"n_params": n * 1e6, "d_pretrain": d * 1e7, "d_special": 0.0, "loss": 3 + n / d}
                           for n in (1, 2, 4) for d in (1.0, 2.0, 3.0))
    told = rows.d_pretrain < 3e7
    assert list(selection.cuts(rows, 0)) == ["n_params", "d_pretrain"]
    assert list(selection.cuts(rows, 0, told)) == ["n_params"]
    two = rows.n_params < 4e6
    assert list(selection.cuts(rows.select(two), 0, told[two])) == [f"fold {k}" for k in range(1, 6)]


def few_runs() -> Table:
    """Two sizes, splits of 1e7 tokens at 10, 50 and 100 %, three domains."""
    rows = []
    for n in (1e6, 4e6):
        for split in (0.1, 0.5, 1.0):
            d, s = split * 1e7, (1 - split) * 1e7 / 3
            for k, domain in enumerate("abc"):
                loss = 1.5 + 0.1 * k + 60 / n**0.4 + 90 / (d + (8 + k) * s) ** 0.35
                rows.append({"n_params": n, "d_pretrain": d, "d_special": s, "domain": domain, "loss": loss,
                             "run": f"{n}-{split}"})
    return Table.from_rows(rows)


def test_few_runs_whose_largest_not_every_family_can_be_compared_on_still_make_a_law() -> None:
    """The largest D has no D', of which `multiplicative` says nothing: folds of the other four runs are compared."""
    found = fit(few_runs(), ["multiplicative", "effective_data"], bootstrap=0)
    (told,) = [note for note in found.notes if note.startswith("Held out")]
    assert told.startswith("Held out: fold 1, ")
    assert told.endswith("; 12 rows that all 2 families predict.")


def test_where_all_that_was_held_out_stands_out_it_is_compared_all_the_same() -> None:
    rows = Table.from_rows({"n_params": 1e6, "d_pretrain": d, "d_special": 0.0, "loss": 3.0} for d in (1e7, 2e7, 4e7))
    bench = Bench(rows, [FAMILIES["chinchilla"]], 0, "huber", 1e-3, True, 0)
    assert bench.cuts["d_pretrain"].tolist() == [False, False, True]

    def compared(*predicted: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        one: Any = SimpleNamespace(problem=SimpleNamespace(usable=np.ones(3, bool)), predicted=np.array(predicted))
        return bench._compared([one])

    assert compared(3.0, 3.0, 3.01)[0].tolist() == [True, True, True]
    rows_of, cuts = compared(3.0, 3.0, 9.0)
    assert rows_of.tolist() == [True, True, True], "the only one held out stands out"
    assert list(cuts) == ["d_pretrain"]
    assert compared(9.0, 3.0, 3.0)[0].tolist() == [False, True, True], "another that stands out counts in no cut"
