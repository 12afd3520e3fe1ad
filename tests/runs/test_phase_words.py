"""A phase is told by what it is."""

from __future__ import annotations

import pytest

from splitjax.config import Model
from splitjax.runs.phase_tree import Cell, grow
from splitjax.runs.telling.phase_words import phase_words

MODEL = Model(d_model=16, n_layers=1, n_heads=2)


def words(cells: list[Cell], budget: int | None) -> set[str]:
    return {phase_words(phase, 100, budget) for phase in grow(cells, 0.2)}


def test_the_main_run_is_told_in_per_cent_of_its_budget() -> None:
    assert words([Cell(MODEL, 40, 60), Cell(MODEL, 100, 0)], 100) == {
        "shared model to 80 %", "experts from 40 %", "experts from 40 %, its decay", "one model to 100 %, its decay",
    }


@pytest.mark.parametrize("special", [0, 10])
def test_a_sweep_is_told_by_size_and_tokens(special: int) -> None:
    told = words([Cell(MODEL, 0, 50), Cell(MODEL, 40, special)], None)
    assert "N = 3.39k: experts from the start" in told
    assert all(text.startswith("N = 3.39k: ") for text in told)
    assert not any("trunk" in text or "d16" in text for text in told)
