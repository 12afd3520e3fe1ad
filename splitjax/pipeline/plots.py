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
    figure, axes = _figure(7.2, 3.9)
    measured = {name: row for name, row in results["models"].items() if "fraction" in row}
    measured.pop("dense_equal_compute", None)  # another budget: it does not lie on this curve
    losses = [row["validation"]["mean"] for row in measured.values()]
    if curve := plan.get("curve"):
        x, loss, low, high = (np.asarray(curve[key], float) for key in ("fraction", "loss", "low", "high"))
        axes.fill_between(100 * x, low, high, color=BAND, label="law, 90 % band")
        axes.plot(100 * x, loss, color=BLUE, label="law")
        start, end = (100 * edge for edge in plan["interval"])
        axes.axvspan(start, end, color=RED, alpha=0.08, lw=0, label="90 % interval of the split")
        losses += list(loss[(x >= 0.1) & (x <= 0.9) & np.isfinite(loss)])
    for name, row in measured.items():
        mark, color, label = _MARKS.get(name, ("^", "black", "other measured splits"))
        known = {text.get_label() for text in axes.get_children()}
        axes.plot(
            100 * row["fraction"], row["validation"]["mean"], mark, color=color, ms=8, mec="white", clip_on=False,
            zorder=4 if name == "planned" else 5, label=None if label in known else label,
        )  # fmt: skip
    room = 0.12 * (max(losses) - min(losses)) + 0.02
    axes.set_ylim(min(losses) - room, max(losses) + room)  # a law may be infinite at a corner
    axes.set_xlabel("split: share of the budget spent on the mixture, D / T (%)")
    axes.set_ylabel("validation loss\n(nats a token, mean of domains)")
    axes.set_xlim(0, 100)
    axes.legend(fontsize=8, frameon=False, ncols=2)
    return _png(figure)


def loss_curves(phases: Path, names: Sequence[str]) -> bytes:
    """Training loss over path tokens of the main run's phases: the mixture in blue, experts (their mean) in red."""
    figure, axes = _figure(7.2, 3.2)
    for name in names:
        tokens, losses_TK = _losses(phases / name / "metrics.jsonl")
        if len(tokens) < 2:
            continue
        split, decays = ".experts" in name, "-decay" in name.rsplit(".", 1)[1]
        label = f"{'experts' if split else 'mixture'}, rate {'decaying' if decays else 'constant'}"
        known = {text.get_label() for text in axes.get_children()}
        color = {(False, False): BLUE, (False, True): "#7fb0e3", (True, False): RED, (True, True): "#eb9a8c"}
        axes.plot(
            tokens, _smooth(losses_TK.mean(1)), lw=1.2, color=color[split, decays],
            label=None if label in known else label,
        )  # fmt: skip
    axes.set_xlabel("tokens seen by a model")
    axes.set_ylabel("training loss (nats a token)")
    axes.xaxis.set_major_formatter(lambda value, _: format_count(value))
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def law_against_observations(predicted: Sequence[float], rows: Sequence[Mapping[str, str]]) -> bytes:
    """Predicted against observed loss, one point an observation, coloured by size; residuals beside it."""
    observed = np.array([float(row["loss"]) for row in rows])
    guess = np.asarray(predicted, float)
    sizes = np.array([float(row["n_params"]) for row in rows])
    figure, (left, right) = _figure(7.2, 3.0, columns=2)
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
    width = min(20, len(values))
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
