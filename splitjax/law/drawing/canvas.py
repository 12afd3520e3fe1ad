"""The sheet that every picture of a law is drawn on, and its colours. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from splitjax.config import format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5fa8", "#d2691e", "#888888"


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
