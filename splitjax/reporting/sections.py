"""What a section of the page is made of: plain values, laid out by `templates/section.html`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .number_text import DIVERGED


@dataclass(frozen=True)
class Cell:
    """One figure or word; `best` marks it among its row or column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: its first cell.
        cells: the others; none where the line is a heading over all columns.
        kind: "" or how it is set: "mean" (a sum of those above, or the chosen one), "part" (a heading).
    """

    name: str
    cells: tuple[Cell, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Section:
    """A heading with a table, a list, or both, and a note below.

    Attributes:
        head: words over the columns, the name's too; empty where there is no table.
        items: of the list.
    """

    title: str
    head: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    items: tuple[str, ...] = ()
    note: str = ""


def line(name: str, cells: Iterable[str], kind: str = "") -> Row:
    """A row of words."""
    return Row(name, tuple(map(Cell, cells)), kind)


def figure_line(name: str, cells: Sequence[str], kind: str = "") -> Row:
    """A row of numbers as text, the least of them marked."""
    least = min((float(cell) for cell in cells if cell != DIVERGED), default=None)
    marked = (Cell(cell, least is not None and cell != DIVERGED and float(cell) == least) for cell in cells)
    return Row(name, tuple(marked), kind)


def part(name: str) -> Row:
    """A heading over all columns."""
    return Row(name, kind="part")
