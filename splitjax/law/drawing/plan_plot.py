"""A plan as a picture: predicted loss over the split fraction, how sure, and the rivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .canvas import BLUE, ORANGE, legend_below, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PlanPicture:
    """What is drawn of a plan.

    Attributes:
        title: what was asked and decided.
        speaker: what predicts the curve.
        fraction, loss, low, high: the curve with its 90 % band, [points]; infinite where nothing is predicted.
        split, split_loss: the pick, and the loss there.
        interval: 90 % interval of the pick.
        flat: fractions that cannot be told from the pick.
        rivals: name → (fraction, loss).
    """

    title: str
    speaker: str
    fraction: np.ndarray
    loss: np.ndarray
    low: np.ndarray
    high: np.ndarray
    split: float
    split_loss: float
    interval: tuple[float, float]
    flat: tuple[float, float]
    rivals: Mapping[str, tuple[float, float]]


def draw_plan(found: PlanPicture) -> Figure:
    """Predicted loss over the split fraction with its band, the interval, the flat region and the baselines."""
    figure, grid = sheet(1, 1, 7.5, 5.0)
    axes = grid[0, 0]
    seen = np.isfinite(found.loss)
    x, low, high = (part[seen] for part in (found.fraction, found.low, found.high))
    axes.fill_between(x, low, high, color=BLUE, alpha=0.15, linewidth=0, label="90 % band")
    axes.plot(x, found.loss[seen], color=BLUE, label=f"predicted ({found.speaker})")
    axes.axvspan(*found.flat, color=ORANGE, alpha=0.12, linewidth=0, label="cannot be told from it")
    axes.plot(found.split, found.split_loss, "o", color=ORANGE, label=f"split {found.split:.1%}")
    first, last = found.interval
    label = f"90 % interval {first:.0%} to {last:.0%}"
    axes.hlines(found.split_loss, first, last, color=ORANGE, linewidth=2, label=label)
    for name, point in found.rivals.items():
        axes.plot(*point, "x", color="black")
        side = {0.0: "left", 1.0: "right"}.get(point[0], "center")  # at an end it leans inwards
        axes.annotate(name, point, fontsize=8, xytext=(0, 6), textcoords="offset points", ha=side)
    bottom, top = low.min(), np.quantile(high, 0.95)
    axes.set_ylim(bottom - 0.1 * (top - bottom), top + 0.15 * (top - bottom))
    axes.set(xlabel="split fraction D/T", ylabel="mean domain loss", title=found.title)
    axes.set_xlim(0, 1)
    legend_below(axes, 3)
    return figure
