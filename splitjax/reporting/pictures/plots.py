"""The pictures of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splitjax.config import format_count
from splitjax.runs.phase_record import read_log, read_phase

from .svg import COLORS, OTHERS, Canvas, Picture, canvas, legend_below

_MARKS = {
    "planned": ("D", COLORS["red"], "planned split"),
    "dense": ("s", COLORS["grey"], "one model (dense)"),
    "80/20": ("o", COLORS["green"], "80/20"),
}
_HITS = 41
"""Points of the law's curve that tell their values."""


def split_curve(plan: Mapping[str, Any], results: Mapping[str, Any]) -> Picture:
    """Predicted validation loss over the split fraction with its band, and what was measured."""
    made, rows = split_canvas(plan, results)
    return made.picture(("what", "fraction", "loss", "low", "high"), rows)


def split_canvas(plan: Mapping[str, Any], results: Mapping[str, Any]) -> tuple[Canvas, list[tuple[Any, ...]]]:
    """The same as a figure, with its values."""
    made, axes = canvas("split_curve")
    measured = _measured(results)
    losses = [loss for point in measured.values() for loss in point.ends]
    rows: list[tuple[Any, ...]] = [(name, *point.row) for name, point in measured.items()]
    if "curve" in plan:
        losses += _draw_law(axes, plan)
        curve = (plan["curve"][key] for key in ("fraction", "loss", "low", "high"))
        rows += [("law", *point) for point in zip(*curve, strict=True)]
    for name, point in measured.items():
        _mark(made, axes, name, point)
    if losses:
        room = 0.12 * (max(losses) - min(losses)) + 0.02
        axes.set_ylim(min(losses) - room, max(losses) + room)  # a law may be infinite at a corner
    if "curve" in plan:
        _tell_law(made, axes, plan)
    axes.set_xlabel("share of the budget before the split, D / T (%)")
    axes.set_ylabel("validation loss, nats a token")
    axes.set_xlim(0, 100)
    legend_below(made.figure, 2)
    return made, rows


@dataclass(frozen=True)
class _Point:
    """Validation loss of a measured model; with training seeds their mean, and its standard error."""

    fraction: float
    loss: float
    error: float | None = None

    @property
    def row(self) -> tuple[Any, ...]:
        """Fraction, loss, and the ends of the error."""
        return (self.fraction, self.loss, *(("", "") if self.error is None else self.ends))

    @property
    def ends(self) -> tuple[float, float]:
        """Of its error."""
        return self.loss - (self.error or 0.0), self.loss + (self.error or 0.0)

    @property
    def told(self) -> str:
        return f"{self.loss:.3f}{'' if self.error is None else f' ± {self.error:.3f} over seeds'} measured"


def _measured(results: Mapping[str, Any]) -> dict[str, _Point]:
    """Compared models that did not diverge and spend the budget of the curve."""
    over_seeds = results.get("seeds", {}).get("models", {})
    found = {}
    for name, row in results["models"].items():
        if "fraction" not in row or name == "dense_equal_compute":  # another budget: it does not lie on this curve
            continue
        told = over_seeds[name]["validation"] if over_seeds else row["validation"]
        if told["mean"] is not None:
            found[name] = _Point(row["fraction"], told["mean"], told.get("error"))
    return found


def _draw_law(axes: Any, plan: Mapping[str, Any]) -> list[float]:
    """The law's curve, the interval, and the picks of the families in it; returns losses to make room for."""
    x, loss, low, high = (np.asarray(plan["curve"][key], float) for key in ("fraction", "loss", "low", "high"))
    axes.fill_between(100 * x, low, high, color=COLORS["band"], lw=0, label="law, 90 % band")
    axes.plot(100 * x, loss, color=COLORS["blue"], label=f"law ({plan['family']})")
    start, end = (100 * edge for edge in plan["interval"])
    axes.axvspan(start, end, color=COLORS["rose"], lw=0, label="90 % interval of the split", zorder=0)
    picks = [100 * told["split_fraction"] for told in plan["by_family"].values() if told["weight"]]
    axes.plot(picks, [0.02] * len(picks), "|", color=COLORS["blue"], ms=12, mew=2, clip_on=False,
              transform=axes.get_xaxis_transform(), label="picks of its families")
    return [*loss[(x >= 0.1) & (x <= 0.9) & np.isfinite(loss)]]


def _tell_law(made: Canvas, axes: Any, plan: Mapping[str, Any]) -> None:
    """Points of the curve, unseen, that tell its values."""
    x, loss, low, high = (np.asarray(plan["curve"][key], float) for key in ("fraction", "loss", "low", "high"))
    bottom, top = axes.get_ylim()
    seen = np.flatnonzero((loss > bottom) & (loss < top))
    hits = np.unique(seen[np.linspace(0, len(seen) - 1, _HITS).round().astype(int)]) if len(seen) else seen
    (points,) = axes.plot(100 * x[hits], loss[hits], "o", ms=9, color=COLORS["blue"], alpha=0)
    axes.set_ylim(bottom, top)
    made.tell(points, (f"law at {100 * x[i]:.0f} %: {loss[i]:.3f} (90 % {low[i]:.3f} to {high[i]:.3f})" for i in hits))


def _mark(made: Canvas, axes: Any, name: str, at: _Point) -> None:
    """One measured model."""
    mark, color, label = _MARKS.get(name, ("^", COLORS["ink"], "other measured splits"))
    known = {item.get_label() for item in axes.get_children()}
    (point,) = axes.plot(
        100 * at.fraction, at.loss, mark, clip_on=False, ls="none", label=None if label in known else label,
        color=color, mec=COLORS["paper"], ms=8, zorder=4 if name == "planned" else 5,
    )
    if at.error is not None:
        axes.errorbar(100 * at.fraction, at.loss, at.error, color=color, capsize=3, lw=1.2, clip_on=False, zorder=3)
    made.tell(point, [f"{name}, {100 * at.fraction:.0f} %: {at.told}"])


def loss_curves(phases: Path, results: Mapping[str, Any]) -> Picture:
    """Training loss of each compared model over the tokens it has seen, from step 0 through its split to its end."""
    made, axes = canvas("training_loss")
    order = sorted((name for name in results["models"] if "cell" in results["models"][name]), reverse=True)
    others, styles = iter(OTHERS * len(order)), iter(["-"] * len(OTHERS) + ["--"] * len(OTHERS) + [":"] * len(order))
    rows: list[tuple[Any, ...]] = []
    for name in order:
        tokens, losses = _path_losses(phases, results["models"][name]["cell"])
        if len(tokens) > 1:
            color, style = (_MARKS[name][1], "-") if name in _MARKS else (next(others), next(styles))
            smooth, front = _smooth(losses), 3 if name == "planned" else 2
            axes.plot(tokens, smooth, style, lw=1.4, color=color, label=name.replace("_", " "), zorder=front)
            hits = np.unique(np.linspace(0, len(tokens) - 1, 25).round().astype(int))
            hits = hits[np.isfinite(smooth[hits])]  # what is no number is not drawn: its words would fall to others
            (points,) = axes.plot(tokens[hits], smooth[hits], "o", ms=8, color=color, alpha=0)
            made.tell(points, (f"{name} at {format_count(tokens[i])} tokens: {smooth[i]:.3f}" for i in hits))
            rows += [(name, int(token), loss) for token, loss in zip(tokens, losses, strict=True)]
    axes.set_xlabel("tokens seen by a model")
    axes.set_ylabel("training loss, nats a token")
    axes.xaxis.set_major_formatter(lambda value, _: format_count(value))
    axes.xaxis.set_major_locator(_few_ticks())
    if rows:
        legend_below(made.figure, 3)
    return made.picture(("model", "tokens", "loss"), rows)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


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
    if not pieces:
        return np.array([]), np.array([])
    tokens, losses = (np.concatenate([piece[part] for piece in pieces[::-1]]) for part in (0, 1))
    return tokens, losses


def _mean(losses: np.ndarray) -> float:
    numbers = losses[np.isfinite(losses)]
    return float(numbers.mean()) if len(numbers) else np.nan


def law_against_observations(predicted: Sequence[float], rows: Sequence[Mapping[str, str]]) -> Picture:
    """How far the law is off each observation, over the observed loss: a point an observation, a colour a size."""
    made, axes = canvas("law_against_observations")
    observed = np.array([float(row["loss"]) for row in rows])
    guess = np.asarray(predicted, float)
    sizes, off = np.array([float(row["n_params"]) for row in rows]), 100 * (guess / observed - 1)
    colors = iter((COLORS["blue"], COLORS["gold"], COLORS["green"], *OTHERS) * len(sizes))
    for size in sorted(set(sizes)):
        mine = np.flatnonzero((sizes == size) & np.isfinite(off))
        (points,) = axes.plot(observed[mine], off[mine], "o", ms=5, mew=0, alpha=0.75, color=next(colors),
                              label=f"N = {format_count(size)}")
        made.tell(points, (_observation(rows[i], guess[i], off[i]) for i in mine.tolist()))
    axes.axhline(0, color=COLORS["grey"], lw=1)
    axes.set_xlabel("observed loss, nats a token")
    axes.set_ylabel("law off by (%)")
    legend_below(made.figure, 3)
    values = ([row[key] for key in ("n_params", "d_pretrain", "d_special", "domain", "loss")] for row in rows)
    lines = [(*value, law) for value, law in zip(values, guess, strict=True)]
    return made.picture(("n_params", "d_pretrain", "d_special", "domain", "loss", "law"), lines)


def _observation(row: Mapping[str, str], guess: float, off: float) -> str:
    size, d, s = (format_count(float(row[key])) for key in ("n_params", "d_pretrain", "d_special"))
    domain, seen = row["domain"] or "mean", float(row["loss"])
    return f"{domain}, N = {size}, D = {d}, D′ = {s}: observed {seen:.3f}, law {guess:.3f} ({off:+.2f} %)"


def _smooth(values: np.ndarray) -> np.ndarray:
    """Means of the last twenty, of those that are numbers; none where a value itself is none."""
    width = min(20, len(values))
    padded = np.pad(values, (width - 1, 0), mode="edge")
    known, ones = np.isfinite(padded), np.ones(width)
    counts = np.convolve(known, ones, mode="valid")
    sums = np.convolve(np.where(known, padded, 0.0), ones, mode="valid")
    return np.where(np.isfinite(values), sums / np.maximum(counts, 1.0), np.nan)
