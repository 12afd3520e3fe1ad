"""Pictures of a law, a plan and a profile. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from splitjax.config import format_count

from .law import LawFit
from .plan import SplitPlan
from .profile import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5fa8", "#d2691e", "#888888"
EXTENT = 10.0
"""The extrapolation plot reaches this many times beyond the largest D."""


def _figure(columns: int, rows: int, width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def plot_law(law: LawFit) -> Figure:
    """Observations against predictions, residuals, isolines over (D, D'), extrapolation in D."""
    figure, axes = _figure(2, 2, 11.0, 8.0)
    predicted = law.chosen.on(law.table)
    _against(axes[0, 0], law, predicted)
    _residuals(axes[0, 1], law, predicted)
    if law.table.has_special:
        _isolines(axes[1, 0], law)
    else:
        axes[1, 0].set_axis_off()
    _extrapolation(axes[1, 1], law)
    figure.suptitle(f"{law.family}: {law.chosen.forms[0].family.formula}")
    return figure


def _by_size(axes: Axes, law: LawFit, x: np.ndarray, y: np.ndarray) -> None:
    """Points coloured by N."""
    points = axes.scatter(x, y, c=np.log10(law.table.n_params), s=14, cmap="viridis", alpha=0.8, linewidths=0)
    bar = axes.figure.colorbar(points, ax=axes, pad=0.01)
    bar.set_label("log10 N")


def _against(axes: Axes, law: LawFit, predicted: np.ndarray) -> None:
    y = law.table.loss
    seen = np.isfinite(predicted)
    span = [y[seen].min(), y[seen].max()]
    axes.plot(span, span, color=GREY, linewidth=1)
    _by_size(axes, law, np.where(seen, predicted, np.nan), y)
    axes.set(xlabel="predicted loss", ylabel="observed loss", title=f"{law.chosen.n} rows, error {law.chosen.mre:.2%}")


def _residuals(axes: Axes, law: LawFit, predicted: np.ndarray) -> None:
    tokens = law.table.d_pretrain + law.table.d_special
    with np.errstate(divide="ignore"):
        off = np.where(np.isfinite(predicted), 100 * (law.table.loss / predicted - 1), np.nan)
    axes.axhline(0, color=GREY, linewidth=1)
    _by_size(axes, law, tokens, off)
    axes.set(xscale="log", xlabel="D + D' (tokens)", ylabel="observed above predicted (%)", title="residuals")


def _isolines(axes: Axes, law: LawFit) -> None:
    n = law.ranges["n_params"][1]
    spans = [law.ranges[name] for name in ("d_pretrain", "d_special")]
    d, s = (np.geomspace(low, high * EXTENT, 81) for low, high in spans)
    loss = law.predict(n, d[None, :], s[:, None])
    lines = axes.contour(d, s, loss, levels=12, cmap="viridis")
    axes.clabel(lines, fontsize=7, fmt="%.3g")
    at = (law.table.d_pretrain > 0) & (law.table.d_special > 0)
    axes.scatter(law.table.d_pretrain[at], law.table.d_special[at], s=6, color="black", label="observed cells")
    axes.set(xscale="log", yscale="log", xlabel="D (tokens)", ylabel="D' (tokens)",
             title=f"mean loss at N = {format_count(n)}")  # fmt: skip
    axes.legend(fontsize=7, loc="lower left")


def _extrapolation(axes: Axes, law: LawFit) -> None:
    """Mean loss over D at the median D', for each N (at most five), with the band of the draws."""
    t = law.table
    sizes = np.unique(t.n_params)
    sizes = sizes[np.unique(np.linspace(0, len(sizes) - 1, 5).round().astype(int))]
    s = _typical_special(law)
    low, high = law.ranges["d_pretrain"]
    d = np.geomspace(low, high * EXTENT, 121)
    for i, n in enumerate(sizes):
        colour = f"C{i}"
        axes.plot(d, law.predict(float(n), d, s), color=colour, label=f"N = {format_count(n)}")
        if law.chosen.draws:
            draws = np.mean([law.chosen.losses(float(n), d, s, name, draws=True) for name in law.domains], 0)
            axes.fill_between(d, *np.percentile(draws, [5, 95], axis=0), color=colour, alpha=0.2, linewidth=0)
        at = (t.n_params == n) & (t.d_special == s) & (t.d_pretrain > 0)
        for value in np.unique(t.d_pretrain[at]):
            axes.plot(value, t.loss[at & (t.d_pretrain == value)].mean(), "o", color=colour, markersize=3)
    axes.axvspan(high, d[-1], color=GREY, alpha=0.12, linewidth=0)
    title = f"extrapolation in D, D' = {format_count(s)}" if t.has_special else "extrapolation in D"
    axes.set(xscale="log", xlabel="D (tokens); grey: beyond the fit", ylabel="loss", title=title)
    axes.legend(fontsize=7)


def _typical_special(law: LawFit) -> float:
    """The D' > 0 with the most rows; 0 where the table has none."""
    positive = law.table.d_special[law.table.d_special > 0]
    if not len(positive):
        return 0.0
    values, counts = np.unique(positive, return_counts=True)
    return float(values[np.argmax(counts)])


def plot_plan(found: SplitPlan) -> Figure:
    """Predicted loss over the split fraction with its band, the interval, the flat region and the baselines."""
    figure, grid = _figure(1, 1, 7.5, 4.5)
    axes = grid[0, 0]
    c = found.curve
    seen = np.isfinite(c.loss)
    x = c.fraction[seen]
    axes.fill_between(x, c.low[seen], c.high[seen], color=BLUE, alpha=0.15, linewidth=0, label="90 % band")
    axes.plot(x, c.loss[seen], color=BLUE, label=f"predicted ({found.family})")
    axes.axvspan(*found.flat_region, color=ORANGE, alpha=0.12, linewidth=0, label="within 0.1 % of the best")
    low, high = found.interval
    axes.plot(found.split_fraction, found.predicted_loss, "o", color=ORANGE, label=f"split {found.split_fraction:.1%}")
    label = f"90 % interval {low:.0%} to {high:.0%}"
    axes.hlines(found.predicted_loss, low, high, color=ORANGE, linewidth=2, label=label)
    for name in ("dense", "80/20", "split_at_0"):
        base = found.baselines[name]
        if base["predicted_loss"] is not None:
            axes.plot(base["split_fraction"], base["predicted_loss"], "x", color="black")
            axes.annotate(name, (base["split_fraction"], base["predicted_loss"]), fontsize=8, xytext=(0, 6),
                          textcoords="offset points", ha="center")  # fmt: skip
    bottom, top = c.low[seen].min(), np.quantile(c.high[seen], 0.95)
    axes.set_ylim(bottom - 0.1 * (top - bottom), top + 0.15 * (top - bottom))
    b = found.budget
    axes.set(xlabel="split fraction D/T", ylabel="mean domain loss",
             title=f"{found.decision}: N = {format_count(b.n_params)}, T = {format_count(b.tokens)} ({b.accounting}), "
                   f"K = {b.experts}")  # fmt: skip
    axes.legend(fontsize=8)
    return figure


def plot_profile(found: Profile) -> Figure:
    """Rise of the objective over the held parameter, in units of the 90 % limit."""
    figure, grid = _figure(1, 1, 5.0, 3.5)
    axes = grid[0, 0]
    rise = (found.objective - found.objective.min()) / found.threshold
    near = found.values[rise < 4]
    axes.plot(found.values, rise, color=BLUE)
    axes.axhline(1.0, color=ORANGE, linewidth=1, label="90 % limit")
    axes.axvspan(*found.interval, color=ORANGE, alpha=0.12, linewidth=0)
    axes.set(xlabel=found.parameter, ylabel="rise / limit", xlim=(near[0], near[-1]), ylim=(0, 4),
             title=f"{found.parameter} = {found.best:.4g}")  # fmt: skip
    axes.legend(fontsize=8)
    return figure
