"""A table fits 80 columns and every number of it is there, whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from splitjax.reporting.narrow import narrow


def table(columns: int) -> tuple[Table, list[str]]:
    made = Table(title="Losses")
    made.add_column("domain")
    for index in range(columns):
        made.add_column(f"split at {index}%", justify="right")
    numbers = []
    for row in range(4):
        cells = [f"{row}.{index:03} ± 0.{row}" for index in range(columns)]
        numbers += cells
        made.add_row(f"a domain of a long and telling name {row}", *cells[:-1], f"[bold]{cells[-1]}[/bold]",
                     end_section=row == 1)
    return made, numbers


@pytest.mark.parametrize("columns", [1, 3, 9, 14])
def test_no_number_is_lost_at_80_columns(columns: int) -> None:
    made, numbers = table(columns)
    console = Console(file=io.StringIO(), width=80)
    console.print(narrow(made))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert not [number for number in numbers if number not in text]
    for line in text.splitlines():
        assert "…" not in line or line.startswith("… and")


def test_a_table_that_fits_is_one() -> None:
    assert len(narrow(table(2)[0]).renderables) == 1
    assert len(narrow(table(14)[0]).renderables) > 1
