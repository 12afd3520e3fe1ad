"""What the pictures draw and tell, beside figures worked out by hand: uneven points, weights, paths with a split."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitjax.reporting.pictures import plots
from splitjax.reporting.pictures.svg import Picture, canvas, legend_below

from . import made_up


def told(picture: Picture) -> list[str]:
    """The words of its points."""
    return [html.unescape(part.partition("</title>")[0]) for part in picture.svg.split("<title>")[1:]]


def table(picture: Picture) -> list[str]:
    return base64.b64decode(picture.csv.partition(",")[2]).decode().splitlines()


def curve(**more: Any) -> dict[str, Any]:
    """A law that is far off at the corners, which no room is made for."""
    return made_up.plan(curve={"fraction": [0.0, 0.09, 0.1, 0.4, 0.9, 1.0], "loss": [9.0, 8.0, 4.3, 3.9, 4.4, 7.0],
                               "low": [8.0, 7.0, 4.2, 3.7, 4.3, 6.0], "high": [9.5, 9.0, 4.5, 4.0, 4.6, 8.0]}, **more)


def test_the_axis_of_the_curve_has_room_above_and_below() -> None:
    """From 3.9 to 4.4 on the law: 12 % of 0.5 and 0.02; without it from 4.0 to 4.18: 12 % of 0.18 and 0.02."""
    results = made_up.results()
    assert plots.split_canvas(curve(), results)[0].figure.axes[0].get_ylim() == pytest.approx((3.82, 4.48))
    plan = curve()
    del plan["curve"]
    axes = plots.split_canvas(plan, results)[0].figure.axes[0]
    assert axes.get_ylim() == pytest.approx((4.0 - 0.0416, 4.18 + 0.0416))
    assert axes.get_xlim() == (0, 100)


def test_the_curve_has_its_band_its_interval_and_the_picks_that_count() -> None:
    view = {"weight": 0.5, "interval": None, "predicted_loss": 4.0}
    plan = curve(interval=[0.35, 0.6], by_family={"a": view | {"split_fraction": 0.3}, "b": view | {"weight": 0.0},
                                                   "c": view | {"split_fraction": 0.5}})
    plan["by_family"]["b"]["split_fraction"] = 0.9
    (axes,) = plots.split_canvas(plan, made_up.results())[0].figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["law (combined)"].get_xdata() == pytest.approx([0, 9, 10, 40, 90, 100])
    assert lines["law (combined)"].get_ydata() == pytest.approx(plan["curve"]["loss"])
    assert [*lines["picks of its families"].get_xdata()] == [30, 50]
    assert [*lines["planned split"].get_xdata(), *lines["planned split"].get_ydata()] == [40, 4.0]
    (span,) = axes.patches
    assert (span.get_x(), span.get_width()) == pytest.approx((35, 25))
    (band,) = axes.collections
    ends = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert {(40.0, 3.7), (40.0, 4.0), (90.0, 4.3), (90.0, 4.6)} <= ends


def test_points_tell_what_was_measured_and_seeds_have_bars() -> None:
    results = made_up.results()
    results["models"]["dense_equal_compute"] = made_up.model(3.0, 1.0)  # of another budget
    results["models"]["80/20"]["validation"] = {"mean": None}
    assert plots._measured(results).keys() == {"planned", "dense"}
    results["seeds"] = {"models": {name: {"validation": {"mean": mean, "error": error}} for name, mean, error in (
        ("planned", 4.2, 0.03), ("dense", 4.5, 0.1), ("80/20", None, None))}}
    plan = curve()
    del plan["curve"]
    made, rows = plots.split_canvas(plan, results)
    (axes,) = made.figure.axes
    assert rows == [("planned", 0.4, 4.2, pytest.approx(4.17), pytest.approx(4.23)),
                    ("dense", 1.0, 4.5, pytest.approx(4.4), pytest.approx(4.6))]
    assert axes.get_ylim() == pytest.approx((4.17 - 0.12 * 0.43 - 0.02, 4.6 + 0.12 * 0.43 + 0.02))
    bars = [bar.lines[2][0].get_segments()[0] for bar in axes.containers]
    assert np.array(bars) == pytest.approx(np.array([[[40, 4.17], [40, 4.23]], [[100, 4.4], [100, 4.6]]]))
    assert told(made.picture(("x",), [])) == ["planned, 40 %: 4.200 ± 0.030 over seeds measured",
                                              "dense, 100 %: 4.500 ± 0.100 over seeds measured"]


ROWS = [{"n_params": "1e6", "d_pretrain": "2e6", "d_special": "0", "domain": "", "loss": "3.0"},
        {"n_params": "4e6", "d_pretrain": "3e6", "d_special": "5e5", "domain": "sea", "loss": "2.0"},
        {"n_params": "1e6", "d_pretrain": "6e6", "d_special": "0", "domain": "law", "loss": "4.0"}]


def test_the_law_is_off_by_its_share_of_what_was_observed() -> None:
    """3.3 of 3.0, 1.9 of 2.0; where it has no end it is in the table and not in the drawing."""
    picture = plots.law_against_observations([3.3, 1.9, math.inf], ROWS)
    assert told(picture) == ["mean, N = 1M, D = 2M, D′ = 0: observed 3.000, law 3.300 (+10.00 %)",
                             "sea, N = 4M, D = 3M, D′ = 500k: observed 2.000, law 1.900 (-5.00 %)"]
    assert table(picture) == ["n_params,d_pretrain,d_special,domain,loss,law", "1e6,2e6,0,,3.0,3.3",
                              "4e6,3e6,5e5,sea,2.0,1.9", "1e6,6e6,0,law,4.0,inf"]


@pytest.fixture
def phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trunk of four rows; experts that left it after the second, one of which ended, and whose log begins later."""
    records = {"m.trunk": {"parent": None, "ends": ["m.dense"]}, "m.own": {"parent": "m.trunk", "ends": ["m.planned"]},
               "other.trunk": {"parent": None, "ends": ["other.x"]}}
    logs = {"m.trunk": [(10, [5.0]), (20, [4.0]), (30, [3.5]), (40, [3.3])],
            "m.own": [(30, [3.0, 2.0]), (40, [2.0, None]), (50, [None, None])], "other.trunk": [(1, [9.0])]}
    for name in records:
        (tmp_path / name).mkdir()
        (tmp_path / name / "phase.json").touch()
    monkeypatch.setattr(plots, "read_phase", lambda folder: {"phase": records[folder.name]})
    monkeypatch.setattr(plots, "read_log", lambda folder: [
        {"tokens": tokens, "loss": loss} for tokens, loss in logs[folder.name]])
    return tmp_path


def test_a_path_is_that_of_the_trunk_up_to_its_split(phases: Path) -> None:
    tokens, losses = plots._path_losses(phases, "m.planned")
    assert tokens.tolist() == [10, 20, 30, 40, 50]
    assert losses[:4].tolist() == [5.0, 4.0, 2.5, 2.0], "means of the experts that go on"
    assert math.isnan(losses[4])
    assert [part.tolist() for part in plots._path_losses(phases, "m.dense")] == [[10, 20, 30, 40], [5, 4, 3.5, 3.3]]
    assert [part.tolist() for part in plots._path_losses(phases, "gone.x")] == [[], []]
    models = {"planned": {"cell": "m.planned"}, "dense": {"cell": "m.dense"}, "seed": {}, "one": {"cell": "other.x"}}
    picture = plots.loss_curves(phases, {"models": models})
    assert table(picture)[:6] == ["model,tokens,loss", "planned,10,5.0", "planned,20,4.0", "planned,30,2.5",
                                  "planned,40,2.0", "planned,50,nan"]
    assert table(picture)[6:] == ["dense,10,5.0", "dense,20,4.0", "dense,30,3.5", "dense,40,3.3"]
    assert told(picture) == [  # means of all so far and of repetitions of the first, which are four and three
        *(f"planned at {at} tokens: {loss}" for at, loss in ((10, "5.000"), (20, "4.800"), (30, "4.300"),
                                                             (40, "3.700"))),
        *(f"dense at {at} tokens: {loss}" for at, loss in ((10, "5.000"), (20, "4.750"), (30, "4.375"),
                                                           (40, "3.950"))),
    ], "the end of what diverged is not told in the place of another"


def test_a_step_without_a_number_leaves_a_curve_to_the_others() -> None:
    """Means of the last three that are numbers: 4, nothing, (4 + 6) / 2; of the last twenty beyond."""
    none = float("nan")
    assert plots._smooth(np.array([4.0, none, 6.0])) == pytest.approx([4.0, none, 5.0], nan_ok=True)
    values = np.array([none] * 21 + [3.0, 5.0])
    found = plots._smooth(values)
    assert np.isnan(found[:21]).all()
    assert found[21:] == pytest.approx([3.0, 4.0])


def test_a_smooth_curve_is_the_mean_of_the_last_twenty_or_of_as_many_as_there_are() -> None:
    """Before the first value stand its repetitions."""
    assert plots._smooth(np.array([4.0, 2.0, 6.0])) == pytest.approx([4.0, 10 / 3, 4.0])
    values = np.arange(25.0) ** 2
    found = plots._smooth(values)
    assert len(found) == 25
    assert found[[1, 24]] == pytest.approx([1 / 20, values[5:].mean()])


def test_a_legend_stands_below_the_axes_within_the_picture() -> None:
    made, axes = canvas("x")
    for index in range(5):
        axes.plot([0, 1], [index, 1], label=f"a model of a long name {index % 4}")
    axes.set_xlabel("words below the axis")
    legend_below(made.figure, 2)
    made.figure.draw_without_rendering()
    (legend,) = made.figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.y0 < box.y1 <= axes.get_tightbbox().y0
    assert [text.get_text()[-1] for text in legend.get_texts()] == ["0", "1", "2", "3"], "each name once"
