"""The sheet that every picture of a law is drawn on, and its colours. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5fa8", "#d2691e", "#888888"


def sheet(columns: int, rows: int, width: float, height: float) -> tuple[Figure, Any]:
    """An empty figure, inches wide and high, and its axes [rows, columns]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)
