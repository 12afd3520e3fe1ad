"""A table fits 80 columns and every number of it is there, whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Column, Table

from splitjax.reporting import narrow as module
from splitjax.reporting.narrow import console, narrow


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


def two(first: int, second: int, name: str = "n" * 10) -> Table:
    """A name and two numbers of so many characters; with their frames they take 3 more each, and 1 in all."""
    made = Table("name", Column("a", justify="right"), Column("b", justify="right"), title="t", caption="c")
    made.add_row(name, "1" * first, "2" * second)
    return made


@pytest.mark.parametrize(("first", "second", "name", "tables"), [
    (30, 30, 10, 1), (31, 30, 10, 2), (30, 31, 10, 2), (1, 59, 10, 1), (60, 1, 10, 2), (20, 20, 50, 1), (21, 20, 50, 2),
])
def test_columns_stay_together_as_long_as_80_characters_hold_them(
    first: int, second: int, name: int, tables: int
) -> None:
    """13 for the name, 33 and 33, and the frame's last: 80; of a long name 30 characters count."""
    parts = narrow(two(first, second, "n" * name)).renderables
    assert [(part.title, part.caption) for part in parts] == (  # type: ignore[union-attr]
        [("t", "c")] if tables == 1 else [("t", None), ("… and", "c")])
    assert [[str(column.header) for column in part.columns] for part in parts] == (  # type: ignore[union-attr]
        [["name", "a", "b"]] if tables == 1 else [["name", "a"], ["name", "b"]])
    console = Console(file=io.StringIO(), width=200)
    console.print(*parts)
    assert max(map(len, console.file.getvalue().splitlines())) <= 80  # type: ignore[attr-defined]


def test_each_table_takes_as_many_columns_as_fit() -> None:
    """A number that fits nowhere has a table of its own, and none is without numbers."""
    made = two(70, 60)
    for length in (30, 30, 31):
        made.add_column(f"{length}", justify="right")
        made.columns[-1]._cells = ["3" * length]
    parts = narrow(made).renderables
    assert [[column.width for column in part.columns] for part in parts] == [  # type: ignore[union-attr]
        [10, 70], [10, 60], [10, 30, 30], [10, 31]]


@pytest.mark.parametrize(("length", "width"), [(12, 12), (30, 30), (31, 31), (63, 63), (64, 63)])
def test_a_long_name_takes_what_numbers_leave(length: int, width: int) -> None:
    """At least 30 of it; two numbers of 4 take 14 of 79, so that it may have 62 beside its frame."""
    (part,) = narrow(two(4, 3, "n" * length)).renderables
    assert [column.width for column in part.columns] == [width, 4, 3]  # type: ignore[union-attr]


def test_words_beside_the_name_take_24_and_what_is_left_is_for_the_first() -> None:
    """11 for the name, 27 for the words, 14 for the number: 27 of 79 are left, of which the name needs none."""
    made = Table("name", "words", Column("number", justify="right"))
    made.add_row("n" * 8, "one two " * 12, "3" * 11)
    (part,) = narrow(made).renderables
    assert [column.width for column in part.columns] == [8, 51, 11]  # type: ignore[union-attr]
    made.add_column("more words than there is room for")
    made.columns[-1]._cells = ["w" * 40]
    assert len(narrow(made).renderables) == 1, "27 more are just there"
    made.columns[2]._cells = ["3" * 12]
    assert len(narrow(made).renderables) == 2
    wide = Table("antidisestablishmentarianism", Column("x", justify="right"))
    wide.add_row("n", "1")
    (part,) = narrow(wide).renderables
    assert [column.width for column in part.columns] == [28, 1], "words of a head stay whole"  # type: ignore[union-attr]


@pytest.mark.parametrize(("terminal", "width", "shown"), [
    (True, 79, 80), (True, 80, 80), (True, 81, 81), (True, 200, 200), (False, 200, 80), (False, 40, 80),
])
def test_the_screen_is_80_wide_or_as_wide_as_the_terminal(
    terminal: bool, width: int, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Screen", lambda: Console(file=io.StringIO(), force_terminal=terminal, width=width))
    assert console().width == shown
