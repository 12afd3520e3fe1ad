"""The study's picture: measured losses over the split fraction, the law's curve and interval, one panel a setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .verdict import Curves


def draw(found: Mapping[str, Curves], picks: Mapping[str, Any], path: Path) -> None:
    """Write a small PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(2, len(found))
    lines = -(-len(found) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(4.2 * columns, 3 * lines), squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.set_axis_off()
    for axis, (name, each) in zip(axes.flat, found.items(), strict=False):
        told = picks[name]
        curve = {key: np.array(values, float) for key, values in told["curve"].items()}
        axis.axvspan(*told["interval"], color="tab:orange", alpha=0.15, label="90 % interval")
        axis.axvline(told["split_fraction"], color="tab:orange", lw=1)
        axis.plot(curve["fraction"], curve["loss"], color="tab:orange", label="law, before measuring")
        for seed, loss in enumerate(each.loss.mean(-1)):
            axis.plot(each.fraction, loss, "o-", ms=3.5, lw=0.8, color="tab:blue", label=None if seed else "measured")
        low, high = each.loss.mean(-1).min(), each.loss.mean(-1).max()
        axis.set_ylim(low - 0.1 * (high - low), high + 0.15 * (high - low))
        axis.set_title(f"{name}: N = {told['n_params']:,}, T = {told['tokens']:,}", fontsize=9)
        axis.set_xlabel("D/T", fontsize=8)
        axis.set_ylabel("nats a token", fontsize=8)
        axis.tick_params(labelsize=7)
    axes.flat[0].legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, metadata={"Software": ""})
    pyplot.close(figure)
