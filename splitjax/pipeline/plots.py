"""The pictures of the report, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from splitjax.config import format_count
from splitjax.train import read_metrics

BLUE, RED, GREY, GREEN, BAND = "#1f5fa8", "#c2412d", "#6b7280", "#2f7d4f", "#cfe0f3"
_MARKS = {
    "planned": ("D", RED, "planned split"),
    "dense": ("s", GREY, "dense"),
    "80/20": ("o", GREEN, "80/20"),
}


def split_curve(plan: Mapping[str, Any], results: Mapping[str, Any]) -> bytes:
    """Predicted validation loss over the split fraction with its band, and what was measured."""
    figure, axes = _figure(7.6, 3.7)
    curve = plan.get("curve")
    if curve:
        x = 100 * np.asarray(curve["fraction"], float)
        loss, low, high = (np.asarray(curve[key], float) for key in ("loss", "low", "high"))
        axes.fill_between(x, low, high, color=BAND, label="law, 90 % band")
        axes.plot(x, loss, color=BLUE, label="law")
        start, end = (100 * edge for edge in plan["interval"])
        axes.axvspan(start, end, color=RED, alpha=0.08, lw=0, label="90 % interval of the split")
        axes.axvline(100 * plan["split_fraction"], color=RED, lw=1, ls="--")
    for name, row in results["models"].items():
        if "fraction" not in row or name == "dense_equal_compute":
            continue
        mark, color, label = _MARKS.get(name, ("^", "black", "other measured splits"))
        known = {text.get_label() for text in axes.get_children()}
        axes.plot(
            100 * row["fraction"], row["validation"]["mean"], mark, color=color, ms=8, mec="white", zorder=5,
            label=None if label in known else label, clip_on=False,
        )  # fmt: skip
    axes.set_xlabel("split: share of the budget spent on the mixture, D / T (%)")
    axes.set_ylabel("validation loss\n(nats a token, mean of domains)")
    axes.set_xlim(0, 100)
    axes.legend(fontsize=8, frameon=False, ncols=2)
    return _png(figure)


def loss_curves(phases: Path, names: Sequence[str]) -> bytes:
    """Training loss over path tokens of the main run's phases."""
    figure, axes = _figure(7.6, 3.2)
    for name in names:
        tokens, losses_TK = _losses(phases / name / "metrics.jsonl")
        if len(tokens) < 2:
            continue
        split = ".experts" in name
        axes.plot(
            tokens, _smooth(losses_TK.mean(1)), lw=1, color=None if split else BLUE, alpha=0.9,
            label=("experts: " if split else "") + name.split(".", 1)[1],
        )  # fmt: skip
    axes.set_xlabel("tokens seen by a model")
    axes.set_ylabel("training loss (nats a token)")
    axes.xaxis.set_major_formatter(lambda value, _: format_count(value))
    axes.legend(fontsize=7, frameon=False)
    return _png(figure)


def law_against_observations(predicted: Sequence[float], rows: Sequence[Mapping[str, str]]) -> bytes:
    """Predicted against observed loss, one point an observation, coloured by size; residuals beside it."""
    observed = np.array([float(row["loss"]) for row in rows])
    guess = np.asarray(predicted, float)
    sizes = np.array([float(row["n_params"]) for row in rows])
    figure, (left, right) = _figure(7.6, 3.2, columns=2)
    for size, color in zip(sorted(set(sizes)), _shades(len(set(sizes))), strict=True):
        mine = sizes == size
        left.plot(observed[mine], guess[mine], ".", ms=5, color=color, label=f"N = {format_count(size)}")
        right.plot(observed[mine], 100 * (guess[mine] / observed[mine] - 1), ".", ms=5, color=color)
    ends = [np.nanmin(observed), np.nanmax(observed)]
    left.plot(ends, ends, color=GREY, lw=0.8)
    right.axhline(0, color=GREY, lw=0.8)
    left.set_xlabel("observed loss")
    left.set_ylabel("law")
    right.set_xlabel("observed loss")
    right.set_ylabel("law off by (%)")
    left.legend(fontsize=8, frameon=False)
    return _png(figure)


def _losses(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(path tokens, losses (rows, K)) of a phase's log; empty where it has none."""
    rows = read_metrics(path) if path.exists() else []
    return np.array([row["tokens"] for row in rows]), np.array([row["loss"] for row in rows], dtype=float)


def _smooth(values: np.ndarray) -> np.ndarray:
    width = max(1, len(values) // 60)
    padded = np.pad(values, (width - 1, 0), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def _shades(count: int) -> list[Any]:
    import matplotlib

    return [matplotlib.colormaps["viridis"](value) for value in np.linspace(0.1, 0.85, count)]


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    axes = figure.subplots(1, columns)
    for one in np.atleast_1d(axes):
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color="#e5e7eb", lw=0.6)
        one.set_axisbelow(True)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
