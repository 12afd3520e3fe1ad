"""Rounds on disk, and trunks that are saved where later rounds leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import Model, UserError
from splitjax.runs.phase_tree import Cell, grow
from splitjax.runs.sweeping.sweep_rounds import Round, Rounds

SMALL, LARGE = (Model(d_model=width, n_layers=1, n_heads=2) for width in (16, 24))
ROUNDS = Rounds(
    (Cell(SMALL, 0, 5), Cell(SMALL, 10, 2), Cell(LARGE, 20, 0)),
    (Round((Cell(SMALL, 20, 0), Cell(SMALL, 4, 4)), "by a prior", 1e9, 0.4, 0.3),),
)


def test_rounds_come_back_as_they_were_saved(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    assert Rounds.load(path) is None
    ROUNDS.save(path)
    assert Rounds.load(path) == ROUNDS
    assert ROUNDS.cells == sorted(ROUNDS.rounds[0].cells, key=lambda cell: cell.id)
    assert ROUNDS.flops == 1e9


@pytest.mark.parametrize("damage", [{"format": 99}, {"rounds": 3}, {"foreseen": [["nobody"]]}])
def test_damaged_rounds_are_refused_by_name(damage: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    ROUNDS.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(UserError, match=r"sweep\.json"):
        Rounds.load(path)


steps = st.integers(0, 40)
cells = st.lists(st.builds(Cell, st.just(SMALL), steps, st.integers(1, 20)), min_size=1, max_size=5)


@given(cells, cells)
def test_a_later_round_finds_what_it_branches_from(now: list[Cell], later: list[Cell]) -> None:
    """No phase that was trained in the first round must be trained again for a cell that was foreseen."""
    longest = Cell(SMALL, 100, 0)  # its trunk is as long as any
    before = {p.name: p for p in grow([longest, *now], 0.2, foreseen=later)}
    for phase in grow([longest, *now, *later], 0.2, foreseen=later):
        known = before.get(phase.name)
        if known is not None and known.stop >= phase.stop:
            assert set(phase.save_at) <= set(known.save_at)


def test_what_is_foreseen_trains_nothing() -> None:
    plain = grow([Cell(SMALL, 100, 0)], 0.2)
    foreseen = grow([Cell(SMALL, 100, 0)], 0.2, foreseen=[Cell(SMALL, 30, 10), Cell(LARGE, 5, 5)])
    assert [(p.name, p.start, p.stop, p.ends) for p in plain] == [(p.name, p.start, p.stop, p.ends) for p in foreseen]
    assert 30 in foreseen[0].save_at
    assert 30 not in plain[0].save_at
