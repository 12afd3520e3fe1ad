"""The sheet that every picture of a law is drawn on, and its colours. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from splitjax.config import format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5fa8", "#d2691e", "#888888"
SIZES = 6
"""More sizes N than this are told by a bar of colours."""


def sheet(columns: int, rows: int, width: float, height: float) -> tuple[Figure, Any]:
    """An empty figure, inches wide and high, and its axes [rows, columns]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def log_counts(axis: Axis) -> None:
    """A logarithmic axis whose few labels are counts as people write them, none on another."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high < 100 * low else (1.0,), numticks=6))
    axis.set_major_formatter(lambda value, _: format_count(round(value)))
    axis.set_minor_formatter(NullFormatter())


def legend_below(axes: Axes, columns: int) -> None:
    """Under the axes and their label, so that it never lies on data."""
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)


def draw_rows(n_params: np.ndarray, tokens: np.ndarray, loss: np.ndarray) -> Figure:
    """Observed losses over tokens, [rows] each."""
    figure, grid = sheet(1, 1, 6.5, 4.5)
    axes = grid[0, 0]
    points_by_size(axes, n_params, tokens, loss)
    axes.set(xscale="log", xlabel="D + D' (tokens)", ylabel="observed loss", title=f"{len(loss)} rows")
    log_counts(axes.xaxis)
    return figure


def points_by_size(axes: Axes, n_params: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Points coloured by N."""
    from matplotlib.colors import LogNorm

    sizes, norm = np.unique(n_params), LogNorm(n_params.min() / 1.01, n_params.max() * 1.01)
    style: Any = {"s": 14, "cmap": "viridis", "norm": norm, "alpha": 0.8, "linewidths": 0}
    if len(sizes) > SIZES:
        points = axes.scatter(x, y, c=n_params, **style)
        bar = axes.figure.colorbar(points, ax=axes, pad=0.01, label="N")
        log_counts(bar.ax.yaxis)
        return
    for size in sizes:
        mine = n_params == size
        axes.scatter(x[mine], y[mine], c=n_params[mine], label=f"N = {format_count(size)}", **style)
    legend_below(axes, len(sizes) if len(sizes) < 4 else 3)
