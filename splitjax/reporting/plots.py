"""The pictures of the report, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from splitjax.config import format_count
from splitjax.runs.phase_record import read_log, read_phase

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
    measured = {name: row for name, row in measured.items() if row["validation"]["mean"] is not None}  # diverged
    losses = [row["validation"]["mean"] for row in measured.values()]
    if "curve" in plan:
        losses += _draw_law(axes, plan)
    for name, row in measured.items():
        mark, color, label = _MARKS.get(name, ("^", "black", "other measured splits"))
        _mark(axes, row["fraction"], row["validation"]["mean"], label, mark, color=color, mec="white", ms=8,
              zorder=4 if name == "planned" else 5)
    if losses:
        room = 0.12 * (max(losses) - min(losses)) + 0.02
        axes.set_ylim(min(losses) - room, max(losses) + room)  # a law may be infinite at a corner
    axes.set_xlabel("split: share of the budget spent on the mixture, D / T (%)")
    axes.set_ylabel("validation loss\n(nats a token, mean of domains)")
    axes.set_xlim(0, 100)
    axes.legend(fontsize=8, frameon=False, ncols=2)
    return _png(figure)


def _draw_law(axes: Any, plan: Mapping[str, Any]) -> list[float]:
    """The law's curve, the interval, and the picks of the families in it; returns losses to make room for."""
    x, loss, low, high = (np.asarray(plan["curve"][key], float) for key in ("fraction", "loss", "low", "high"))
    axes.fill_between(100 * x, low, high, color=BAND, label=f"law ({plan['family']}), 90 % band")
    axes.plot(100 * x, loss, color=BLUE, label=f"law ({plan['family']})")
    start, end = (100 * edge for edge in plan["interval"])
    axes.axvspan(start, end, color=RED, alpha=0.08, lw=0, label="90 % interval of the split")
    for told in (each for each in plan["by_family"].values() if each["weight"]):
        axes.plot(100 * told["split_fraction"], 0.02, "|", color=BLUE, ms=12, mew=2, clip_on=False,
                  transform=axes.get_xaxis_transform())
    return [*loss[(x >= 0.1) & (x <= 0.9) & np.isfinite(loss)]]


def _mark(axes: Any, fraction: float, loss: float, label: str, mark: str, **style: Any) -> None:
    known = {item.get_label() for item in axes.get_children()}
    axes.plot(100 * fraction, loss, mark, clip_on=False, ls="none", label=None if label in known else label, **style)


def loss_curves(phases: Path, results: Mapping[str, Any]) -> bytes:
    """Training loss of each compared model over the tokens it has seen, from step 0 through its split to its end."""
    figure, axes = _figure(7.2, 3.4)
    order = sorted((name for name in results["models"] if "cell" in results["models"][name]), reverse=True)
    others = iter(["#8a63b8", "#c98a1b", "#4a9aa8", "#7a7a52"] * len(order))
    for name in order:
        tokens, losses = _path_losses(phases, results["models"][name]["cell"])
        if len(tokens) > 1:
            color = _MARKS[name][1] if name in _MARKS else next(others)
            axes.plot(tokens, _smooth(losses), lw=1.2, color=color, label=name, zorder=3 if name == "planned" else 2)
    axes.set_xlabel("tokens seen by a model")
    axes.set_ylabel("training loss (nats a token)")
    axes.xaxis.set_major_formatter(lambda value, _: format_count(value))
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def _path_losses(phases: Path, cell: str) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, mean loss of the stack) along a cell's whole path: its last phase and what that branched from."""
    folders = [path.parent for path in phases.glob(f"{cell.split('.')[0]}.*/phase.json")]
    records = {folder.name: read_phase(folder)["phase"] for folder in folders}
    name = next((name for name, phase in records.items() if cell in phase["ends"]), None)
    pieces: list[tuple[np.ndarray, np.ndarray]] = []
    until = np.inf
    while name is not None:
        rows = [row for row in read_log(phases / name) if row["tokens"] <= until]
        # An expert that ended has no loss any more, and a skipped step's may be NaN.
        means = [_mean(np.array(row["loss"], dtype=float)) for row in rows]
        pieces.append((np.array([row["tokens"] for row in rows]), np.array(means)))
        until = rows[0]["tokens"] - 1 if rows else until
        name = records[name]["parent"]
    tokens, losses = (np.concatenate([piece[part] for piece in pieces[::-1]]) for part in (0, 1))
    return tokens, losses


def _mean(losses: np.ndarray) -> float:
    numbers = losses[np.isfinite(losses)]
    return float(numbers.mean()) if len(numbers) else np.nan


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
