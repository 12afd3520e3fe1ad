"""Tables that fit 80 columns with every number whole: what does not fit goes below, under the same row names."""

from __future__ import annotations

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from splitjax.runs.reporter import Screen

WIDTH = 80
_NAMES = 30
"""The most that the first column takes; longer names fold."""
_WORDS = 24
"""The same of a further column of words."""


def console() -> Screen:
    """Standard output for people: 80 columns at least, and where it is no terminal; see `Screen`."""
    made = Screen()
    if not made.is_terminal or made.width < WIDTH:
        made.width = WIDTH
    return made


def narrow(table: Table, width: int = WIDTH) -> Group:
    """The table, or its columns in several tables one below the other, each with the first column."""
    first, *others = table.columns
    least = {id(column): _least(column, _NAMES if column is first else _WORDS) for column in table.columns}
    parts: list[list[Column]] = [[]]
    room = width - 1
    left = room - least[id(first)] - 3
    for column in others:
        if least[id(column)] + 3 > left and parts[-1]:
            parts.append([])
            left = room - least[id(first)] - 3
        parts[-1].append(column)
        left -= least[id(column)] + 3
    made = [_part(table, [first, *part], least, number, room) for number, part in enumerate(parts)]
    made[-1].caption, made[-1].caption_justify = table.caption, table.caption_justify
    return Group(*made)


def _part(table: Table, columns: list[Column], least: dict[int, int], number: int, room: int) -> Table:
    """Some columns of a table; what is left of the room goes to those of words."""
    spare = room - sum(least[id(column)] + 3 for column in columns)
    wide = dict(least)
    for column in columns:
        longest = max((len(line) for cell in column.cells for line in _text(cell).splitlines()), default=0)
        more = 0 if column.justify == "right" else min(max(spare, 0), max(0, longest - least[id(column)]))
        wide[id(column)] += more
        spare -= more
    title = f"{table.title}" if number == 0 else "… and"
    made = Table(title=title if table.title else None, title_justify="left", show_header=table.show_header)
    for column in columns:
        made.add_column(column.header, justify=column.justify, overflow="fold", width=wide[id(column)])
    cells = [list(column.cells) for column in columns]
    for index, row in enumerate(table.rows):
        made.add_row(*(column[index] for column in cells), style=row.style, end_section=row.end_section)
    return made


def _least(column: Column, most: int) -> int:
    """The width at which numbers stay whole and words break between words."""
    cells, head = [_text(cell) for cell in column.cells], _text(column.header)
    words, longest = max(map(len, head.split()), default=1), max(map(len, cells), default=1)
    return max(words, longest if column.justify == "right" else min(longest, most))


def _text(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
