"""Pictures of laws: their legends lie below the data, their labels do not lie on each other."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from splitjax.law.drawing.law_plot import Curve, Extrapolation, Isolines, Observed, draw_law
from splitjax.law.drawing.plan_plot import PlanPicture, draw_plan
from splitjax.law.drawing.profile_plot import draw_profile


def law(sizes: int) -> Any:
    n = np.repeat(np.geomspace(1e4, 1e6, sizes), 5)
    loss = 3 + 20 / n**0.3
    seen = Observed(n, np.tile(np.geomspace(1e5, 1e6, 5), sizes), loss, loss * 1.01, len(n), 0.01)
    d = np.geomspace(1e5, 6e6, 20)
    grid = 3 + 100 / d[None, :] ** 0.3 + 100 / d[:, None] ** 0.3
    lines = Isolines(1e6, d, d, grid, np.array([[2e5, 2e5], [4e5, 2e5]]))
    curves = tuple(Curve(size, 3 + size**-0.1 + 50 / d**0.3, None, np.array([[1e5, 4.0]])) for size in set(n))
    return draw_law("a law", seen, lines, Extrapolation(d, 1e5, 1e6, curves))


def plan() -> Any:
    x = np.linspace(0, 1, 50)
    loss = 4 + (x - 0.5) ** 2
    rivals = {"split_at_0": (0.0, 4.25), "80/20": (0.8, 4.09), "dense": (1.0, 4.25)}
    band = (loss - 0.1, loss + 0.1)
    return draw_plan(PlanPicture("a plan", "combined", x, loss, *band, 0.5, 4.0, (0.3, 0.7), (0.2, 0.8), rivals))


def profile() -> Any:
    x = np.linspace(0, 2, 41)
    return draw_profile("a", 1.0, x, 5 * (x - 1) ** 2, (0.6, 1.4))


@pytest.mark.parametrize("figure", [law(2), law(9), plan(), profile()], ids=["law", "many sizes", "plan", "profile"])
def test_no_labels_overlap_and_no_legend_lies_on_data(figure: Any) -> None:
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for axes in figure.axes:
        data = axes.get_window_extent(renderer)
        if legend := axes.get_legend():
            assert legend.get_window_extent(renderer).y1 < data.y0
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown = [tick.label1 for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
                     if tick.label1.get_text() and low <= tick.get_loc() <= high]
            boxes = [label.get_window_extent(renderer) for label in shown if label.get_visible()]
            assert not [1 for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]
            assert len(axes.lines) == 0 or len(boxes) >= 2
        names = [text.get_window_extent(renderer) for text in axes.texts if text.get_text() in ("dense", "split at 0")]
        assert all(box.x0 >= data.x0 - 1 and box.x1 <= data.x1 + 1 for box in names)
