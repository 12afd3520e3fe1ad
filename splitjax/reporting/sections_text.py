"""A section of a page as a table in the terminal."""

from __future__ import annotations

from rich.table import Table

from .sections import Section


def terminal(section: Section) -> Table:
    """Its table; names in the first column, figures in the others."""
    made = Table(title=section.title, title_justify="left")
    for index, word in enumerate(section.head):
        made.add_column(word, justify="right" if index else "left")
    for row in section.rows:
        made.add_row(row.name, *(cell.text for cell in row.cells))
    return made
