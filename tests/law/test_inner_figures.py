"""Figures on the way to a law, each worked out by hand: derivatives, ranges, counts, pictures' points."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.law import LawFit, Table, fit
from splitjax.law.drawing.canvas import draw_rows
from splitjax.law.drawing.law_plot import Curve, Extrapolation, Observed, draw_law
from splitjax.law.fitting.candidates import Bench
from splitjax.law.fitting.correction import USUAL, correction_of, usual_misfit
from splitjax.law.fitting.engine import Problem
from splitjax.law.fitting.families import FAMILIES
from splitjax.law.fitting.identify import check_design, check_sense

from .synthetic import exact, table


def test_the_slopes_of_a_law_are_its_derivatives() -> None:
    """By one-sided differences of another width; central ones of half the width would be twice as large."""
    law, rows = exact("effective_data").families[0], table("effective_data")
    (form,), (x,) = law.forms, law.xs
    points = law.reference.rows(rows.n_params, rows.d_pretrain, rows.d_special, None, None)
    at = np.log(form.losses(x[None], points, 0)[0])
    for i, slope in enumerate(form.slopes(x, points, 0).T):
        step = np.zeros(len(x))
        step[i] = 1e-6 * max(abs(x[i]), 1e-3)
        rise = (np.log(form.losses((x + step)[None], points, 0)[0]) - at) / step[i]
        assert slope == pytest.approx(rise, rel=1e-3, abs=1e-6)


def test_parameters_that_domains_share_are_told_once_and_their_own_by_domain() -> None:
    three = fit(table("effective_data", domains={"x": {}, "y": {"E": 1.8}, "z": {"E": 2.0}}), "effective_data",
                bootstrap=0).families[0].parameters()
    assert isinstance(three["a"], float)
    assert {name: round(value, 1) for name, value in three["E"].items()} == {"x": 1.5, "y": 1.8, "z": 2.0}
    alone = fit(table("effective_data", domains={"x": {}}), "effective_data", bootstrap=0).families[0].parameters()
    assert list(alone["a"]) == list(alone["E"]) == ["x"]


def test_rows_that_a_family_says_nothing_of_weigh_nothing() -> None:
    rows = table("effective_data")
    problem = Problem(rows, FAMILIES["additive"])
    (part,) = problem.parts
    found = problem.data(part, rows.loss[None], np.full((1, len(rows)), 3.0))
    weights = found.w[0, part.group, part.slot]
    assert weights[rows.d_special[part.at] == 0].tolist() == [0.0] * int((rows.d_special == 0).sum())
    assert weights[rows.d_special[part.at] > 0].tolist() == [3.0] * int((rows.d_special > 0).sum())


def test_a_table_is_refused_where_over_seven_tenths_of_its_pairs_grow() -> None:
    """Seven rows of one N and D' have 21 pairs. Six are in the other order: 15 grow, which is over 0.7 of them; with
    seven 14 do, which is not."""

    def rows(*order: int) -> Table:
        return Table.from_rows({"n_params": 1e6, "d_pretrain": 1e6 * (k + 1), "d_special": 0.0, "loss": 3 + place / 10}
                               for k, place in enumerate(order))

    check_sense(rows(3, 2, 1, 0, 4, 6, 5))
    with pytest.raises(UserError, match="71 % of comparable rows"):
        check_sense(rows(3, 2, 1, 0, 4, 5, 6))


def test_nineteen_pairs_say_nothing_and_twenty_do() -> None:
    """All grow. Four rows of a domain have six pairs; rows of other domains are not compared with them."""

    def rows(*counts: int) -> Table:
        return Table.from_rows(
            {"n_params": 1e6, "d_pretrain": 1e6 * (k + 1), "d_special": 0.0, "loss": 2.0 + k, "domain": f"d{i}"}
            for i, count in enumerate(counts) for k in range(count)
        )

    check_sense(rows(4, 4, 4, 2))  # 6 + 6 + 6 + 1
    with pytest.raises(UserError, match="100 % of comparable rows"):
        check_sense(rows(4, 4, 4, 2, 2))


def test_a_row_without_pretraining_breaks_a_tie_of_the_others() -> None:
    """D' is D / 10 but for the rows with D = 0, whichever of the two is zero."""
    points = [(n, d, d / 10) for n in (1e6, 2e6, 4e6) for d in (1e7, 3e7)] + [(1e6, 0.0, 1e6), (2e6, 0.0, 3e6)]
    check_design(Table.from_rows({"n_params": n, "d_pretrain": d, "d_special": s, "loss": 3.0} for n, d, s in points))


def test_ranges_start_at_the_smallest_that_is_not_zero() -> None:
    """Counts may be in any unit: half a billion is 0.5."""
    rows = Table.from_rows({"n_params": n, "d_pretrain": d, "d_special": s, "loss": 3.0}
                           for n, d, s in ((0.5, 0.0, 0.25), (2.0, 8.0, 0.0), (4.0, 0.75, 1.5)))
    law: Any = SimpleNamespace(table=rows)
    assert LawFit.ranges.func(law) == {
        "n_params": (0.5, 4.0), "d_pretrain": (0.75, 8.0), "d_special": (0.25, 1.5), "tokens": (0.25, 8.0),
    }


def test_a_usual_misfit_is_smooth_it_has_no_noise() -> None:
    """Two runs a thousandth apart are off by the same, in every draw."""
    assert USUAL.noise == 0.0
    n, d = np.array([1e6, 1.001e6]), np.array([1e7, 1e7])
    off = usual_misfit(400, 0, 1e5)(n, d, np.zeros(2))
    assert np.abs(off[:, 0] - off[:, 1]).max() < 0.002
    assert 0.006 < off[:, 0].std() < 0.03


def test_held_out_predictions_are_corrected_by_the_misfit_of_the_rows_left() -> None:
    """The law is right but for a smooth factor: with the correction it must be nearer, divided by it further."""
    rows = table("effective_data")
    off = 0.03 * np.sin(np.log(rows.n_params)) * np.cos(np.log(rows.d_pretrain + 1e6) / 2)
    bent = Table.from_rows({
        "n_params": n, "d_pretrain": d, "d_special": s, "loss": loss * np.exp(o), "run": f"r{i}"
    } for i, (n, d, s, loss, o) in enumerate(zip(rows.n_params, rows.d_pretrain, rows.d_special, rows.loss, off,
                                                  strict=True)))
    every = np.ones(len(bent), bool)
    found = correction_of(bent, every, rows.loss, None)
    assert found is not None
    bench = Bench(bent, [FAMILIES["effective_data"]], 0, "huber", 1e-3, True, 0)
    test = np.zeros(len(bent), bool)
    test[::7] = True
    bench.cuts = {"some": test}
    member: Any = SimpleNamespace(heldout={"some": rows.loss})
    plain = np.abs(np.log(bench._held([member], [1.0], None, "some", every) / bent.loss))[test].mean()
    corrected = np.abs(np.log(bench._held([member], [1.0], found, "some", every) / bent.loss))[test].mean()
    assert plain == pytest.approx(np.abs(off[test]).mean())
    assert corrected < 0.6 * plain


def test_rows_are_drawn_over_all_their_tokens() -> None:
    law = exact("effective_data")
    assert law._observed().tokens == pytest.approx(law.table.d_pretrain + law.table.d_special)
    assert (law.table.d_special > 0).any()


def test_every_size_of_an_extrapolation_is_named() -> None:
    d = np.geomspace(1e5, 6e6, 20)
    curves = tuple(Curve(n, 3 + 50 / d**0.3, None, np.array([[1e5, 4.0]])) for n in (3e5, 2e6))
    seen = Observed(np.array([3e5, 2e6]), np.array([1e5, 2e5]), np.array([4.0, 3.9]), np.array([4.0, 3.9]), 2, 0.0)
    axes = draw_law("a law", seen, None, Extrapolation(d, 1e5, 1e6, curves)).axes
    (beyond,) = [one for one in axes if "beyond the fit" in one.get_xlabel()]
    assert [text.get_text() for text in beyond.get_legend().get_texts()] == ["N = 300k", "N = 2M"]


@pytest.mark.parametrize(("high", "labels"), [(9e6, ["1M", "3M", "10M"]), (5e8, ["1M", "10M", "100M"])])
def test_axes_of_counts_are_labelled_by_ones_and_threes(high: float, labels: list[str]) -> None:
    """Below two decades one and three, else powers of ten alone."""
    tokens = np.array([1e6, high])
    figure = draw_rows(np.array([1e6, 1e6]), tokens, np.array([3.0, 2.9]))
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    low, top = axis.get_view_interval()
    shown = [tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= top]
    assert [each for each in shown if each] == labels
