"""Figures as SVG inside a page: they follow its colours, light or dark, and tell their values where one points."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import Any

COLORS = {
    "ink": "#1b1f24", "soft": "#57606a", "grid": "#e5e7ea", "blue": "#1f5fa8", "red": "#c2412d", "grey": "#6b7280",
    "green": "#2f7d4f", "band": "#cfe0f3", "plum": "#8a63b8", "gold": "#b07a10", "teal": "#3a8a99", "olive": "#7a7a52",
    "rose": "#fbe9e6", "paper": "#fefefe",
}
"""Names of the page's CSS variables → what they are on white; each value stands for its name in a drawing."""
_INCHES = 5.6, 4.2
OTHERS = tuple(COLORS[name] for name in ("plum", "gold", "teal", "olive"))


_OWN_IDS = "figure|axes|patch|line2d|matplotlib|xtick|ytick|text|legend|PolyCollection|Quad"
"""Ids that matplotlib gives to groups, which nothing in the drawing refers to and every drawing repeats."""


@dataclass(frozen=True)
class Picture:
    """A drawing in a page.

    Attributes:
        svg: its markup, without colours of its own.
        csv: address of its values, a `data:` URL.
        name: of the CSV file.
    """

    svg: str
    csv: str
    name: str


@dataclass
class Canvas:
    """A figure with the words that stand beside its points.

    Args:
        name: in the page; ids of the drawing begin with it.
    """

    name: str
    figure: Any
    told: dict[str, list[str]] = field(default_factory=dict)

    def tell(self, artist: Any, words: Iterable[str]) -> None:
        """What each point of a plotted line says, in the order of its points."""
        gid = f"{self.name}-{len(self.told)}"
        artist.set_gid(gid)
        self.told[gid] = list(words)

    def picture(self, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Picture:
        """The SVG with its values as CSV."""
        return Picture(self._svg(), _csv_url(head, rows), f"{self.name}.csv")

    def _svg(self) -> str:
        import matplotlib

        buffer = io.StringIO()
        # One salt a drawing: ids are the same each time, and no two drawings of a page share one.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(rf' xmlns(:xlink)?="[^"]*"| id="({_OWN_IDS})[^"]*"', "", text)  # in a page it needs no names
        for name, value in COLORS.items():
            text = text.replace(value, f"var(--{name})")
        return _with_words(text, self.told)


def canvas(name: str) -> tuple[Canvas, Any]:
    """A figure and its axes, drawn in the colours of the page."""
    import matplotlib
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display

    ink, soft = COLORS["ink"], COLORS["soft"]
    style: Any = {"font.size": 10, "text.color": ink, "axes.labelcolor": ink}
    style |= dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), soft)
    with matplotlib.rc_context(style):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=COLORS["grid"], lw=0.8)
    axes.set_axisbelow(True)
    return Canvas(name, figure), axes


def legend_below(figure: Any, columns: int) -> None:
    """One legend of all that is named, under the axes: it never lies on data."""
    found = [axes.get_legend_handles_labels() for axes in figure.axes]
    labels = {label: handle for handles, names in found for handle, label in zip(handles, names, strict=True)}
    made = figure.legend(labels.values(), labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    for text in made.get_texts():
        text.set_color(COLORS["ink"])


def _with_words(text: str, told: dict[str, list[str]]) -> str:
    """Put a title into each point of the lines that have words; all of them are in sight, so all were drawn."""
    for gid, words in told.items():
        start, points = text.index(f'<g id="{gid}"'), iter(words)
        titled = partial(_titled, points)
        text = text[:start] + re.sub(r"<use ([^>]*)/>", titled, text[start:], count=len(words))
    return text


def _titled(words: Iterator[str], point: re.Match[str]) -> str:
    return f"<use {point[1]}><title>{escape(next(words))}</title></use>"


def _csv_url(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([head, *rows])
    return "data:text/csv;base64," + base64.b64encode(buffer.getvalue().encode()).decode()
