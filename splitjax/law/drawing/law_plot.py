"""A law in four pictures: observed against predicted, residuals, isolines over (D, D'), extrapolation in D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from splitjax.config import format_count

from .canvas import GREY, legend_below, log_counts, points_by_size, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Observed:
    """Rows of a table beside what the law says of them, [rows] each; infinite where it says nothing.

    Attributes:
        error: mean relative error on the `fitted` rows that the law was fitted to.
    """

    n_params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    predicted: np.ndarray
    fitted: int
    error: float


@dataclass(frozen=True)
class Isolines:
    """Mean loss over D [columns] and D' [rows] at one N, and the cells that were observed."""

    n_params: float
    d_pretrain: np.ndarray
    d_special: np.ndarray
    loss: np.ndarray
    cells: np.ndarray
    """(D, D') of each, [cells, 2]."""


@dataclass(frozen=True)
class Curve:
    """Mean loss over D at one N, its band [2, points] where there are draws, and the observed (D, loss), [cells, 2]."""

    n_params: float
    loss: np.ndarray
    band: np.ndarray | None
    cells: np.ndarray


@dataclass(frozen=True)
class Extrapolation:
    """Curves over the same D [points], at one D'; `limit` is the largest D that was fitted."""

    d_pretrain: np.ndarray
    d_special: float
    limit: float
    curves: tuple[Curve, ...]


def draw_law(title: str, observed: Observed, isolines: Isolines | None, beyond: Extrapolation) -> Figure:
    """The four pictures; without `isolines` (a table without D') their place stays empty."""
    figure, axes = sheet(2, 2, 11.0, 8.0)
    _against(axes[0, 0], observed)
    _residuals(axes[0, 1], observed)
    if isolines is None:
        axes[1, 0].set_axis_off()
    else:
        _isolines(axes[1, 0], isolines)
    _extrapolation(axes[1, 1], beyond)
    figure.suptitle(title)
    return figure


def _against(axes: Axes, seen: Observed) -> None:
    at = np.isfinite(seen.predicted)
    span = [seen.loss[at].min(), seen.loss[at].max()]
    axes.plot(span, span, color=GREY, linewidth=1)
    points_by_size(axes, seen.n_params, np.where(at, seen.predicted, np.nan), seen.loss)
    axes.set(xlabel="predicted loss", ylabel="observed loss", title=f"{seen.fitted} rows, error {seen.error:.2%}")


def _residuals(axes: Axes, seen: Observed) -> None:
    at = np.isfinite(seen.predicted)
    with np.errstate(divide="ignore"):
        off = np.where(at, 100 * (seen.loss / seen.predicted - 1), np.nan)
    axes.axhline(0, color=GREY, linewidth=1)
    points_by_size(axes, seen.n_params, seen.tokens, off)
    axes.set(xscale="log", xlabel="D + D' (tokens)", ylabel="observed above predicted (%)", title="residuals")
    log_counts(axes.xaxis)


def _isolines(axes: Axes, found: Isolines) -> None:
    axes.set(xscale="log", yscale="log")  # first: labels are set into the lines as they are seen
    lines = axes.contour(found.d_pretrain, found.d_special, found.loss, levels=12, cmap="viridis")
    axes.clabel(lines, fontsize=7, fmt="%.3g")
    axes.scatter(found.cells[:, 0], found.cells[:, 1], s=6, color="black", label="observed cells")
    title = f"mean loss at N = {format_count(found.n_params)}"
    axes.set(xlabel="D (tokens)", ylabel="D' (tokens)", title=title)
    log_counts(axes.xaxis)
    log_counts(axes.yaxis)
    legend_below(axes, 1)


def _extrapolation(axes: Axes, found: Extrapolation) -> None:
    d = found.d_pretrain
    for i, curve in enumerate(found.curves):
        colour = f"C{i}"
        axes.plot(d, curve.loss, color=colour, label=f"N = {format_count(curve.n_params)}")
        if curve.band is not None:
            axes.fill_between(d, *curve.band, color=colour, alpha=0.2, linewidth=0)
        axes.plot(*curve.cells.T, "o", color=colour, markersize=3)
    axes.axvspan(found.limit, d[-1], color=GREY, alpha=0.12, linewidth=0)
    title = f"extrapolation in D, D' = {format_count(found.d_special)}" if found.d_special else "extrapolation in D"
    axes.set(xscale="log", xlabel="D (tokens); grey: beyond the fit", ylabel="loss", title=title)
    log_counts(axes.xaxis)
    legend_below(axes, min(3, len(found.curves)))
