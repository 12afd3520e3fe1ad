"""A profile likelihood as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .canvas import BLUE, ORANGE, legend_below, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_profile(name: str, best: float, values: np.ndarray, rise: np.ndarray, interval: tuple[float, float]) -> Figure:
    """Rise of the objective over the held parameter, in units of the 90 % limit, [points] each."""
    figure, grid = sheet(1, 1, 5.0, 4.0)
    axes = grid[0, 0]
    near = values[rise < 4]
    axes.plot(values, rise, color=BLUE)
    axes.axhline(1.0, color=ORANGE, linewidth=1, label="90 % limit")
    axes.axvspan(*interval, color=ORANGE, alpha=0.12, linewidth=0)
    title = f"{name} = {best:.4g}"
    axes.set(xlabel=name, ylabel="rise / limit", xlim=(near[0], near[-1]), ylim=(0, 4), title=title)
    legend_below(axes, 1)
    return figure
