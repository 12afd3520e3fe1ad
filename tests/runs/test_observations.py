"""Rows of observations.csv: tokens and unique tokens of domains of unequal sizes, worked out by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from splitjax.config import Model
from splitjax.runs.phase_tree import Cell
from splitjax.runs.sweeping import observations

SIZES = {"law": 200, "code": 900, "prose": 320}
LOSSES = {"law": 3.0, "code": 2.123456789, "prose": 1.5}


def rows(pretrain: int, special: int, **more: Any) -> dict[str, dict[str, Any]]:
    """domain → row, of a cell of steps of 16 tokens."""
    cell = Cell(Model(d_model=16, n_layers=1, n_heads=2), pretrain, special)
    told = observations.rows_of(cell, LOSSES, tokens_per_step=16, sizes=SIZES, vocab_size=50, seed=7, **more)
    return {str(row["domain"]): row for row in told}


def test_no_domain_has_more_unique_tokens_than_it_holds() -> None:
    found = rows(30, 20)
    assert {name: row["u_special"] for name, row in found.items()} == {"law": 200, "code": 320, "prose": 320}
    assert {(row["d_pretrain"], row["d_special"], row["u_pretrain"], row["seed"]) for row in found.values()} == {
        (480, 320, 480, 7)}
    assert [row["loss"] for row in found.values()] == [3.0, 2.123457, 1.5]
    assert rows(100, 1)["code"]["u_pretrain"] == 1420, "all there is, of 1600"


def test_a_mixture_has_of_each_domain_what_its_share_reaches() -> None:
    """Of 480 tokens: 200 of the 240 asked for, 60, and 180."""
    shares = {"law": 0.5, "code": 0.125, "prose": 0.375}
    assert rows(30, 20, shares=shares)["law"]["u_pretrain"] == 200 + 60 + 180


def test_tokens_behind_the_seed_count_into_d_and_are_all_unique() -> None:
    told = rows(30, 20, before=1000)["prose"]
    assert (told["d_pretrain"], told["u_pretrain"], told["d_special"], told["u_special"]) == (1480, 1480, 320, 320)


def test_the_table_is_sorted_and_has_its_columns_alone(tmp_path: Path) -> None:
    made = rows(30, 20)
    observations.write(tmp_path / "o.csv", [made[name] | {"more": 1} for name in SIZES])
    with open(tmp_path / "o.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["domain"] for row in read] == ["code", "law", "prose"]
    assert tuple(read[0]) == observations.COLUMNS
    assert float(read[1]["u_special"]) == pytest.approx(200)


def test_a_table_has_its_columns_alone_sorted_by_run_and_domain(tmp_path: Path) -> None:
    told = [{"run": "b", "domain": "x", "loss": 1.5, "seconds": 9.0}, {"run": "a", "domain": "y", "loss": 2.5},
            {"run": "a", "domain": "x", "loss": 3.5}]
    observations.write(tmp_path / "few.csv", told, ("domain", "run", "loss"))
    assert (tmp_path / "few.csv").read_text() == "domain,run,loss\nx,a,3.5\ny,a,2.5\nx,b,1.5\n"
