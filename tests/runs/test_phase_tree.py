"""The tree trains every cell's whole path, and every shared stretch once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import Model
from splitjax.runs.phase_tree import Cell, Phase, decay_start, grow, tokens_trained

SMALL, LARGE = Model(d_model=16, n_heads=2), Model(d_model=32, n_heads=2)
cells_of = st.lists(
    st.tuples(st.sampled_from([SMALL, LARGE]), st.integers(0, 300), st.integers(0, 120))
    .filter(lambda t: t[1] + t[2] > 0)
    .map(lambda t: Cell(*t)),
    min_size=1,
    max_size=12,
)
fractions = st.floats(0.01, 1.0) | st.sampled_from([0.0, 1.0])


def way_to(cell: Cell, phases: list[Phase]) -> list[tuple[Phase, int, int]]:
    """The stretches (phase, from, to) that train a cell, first to last."""
    by_name = {phase.name: phase for phase in phases}
    (last,) = [phase for phase in phases if cell in phase.ends]
    way, stop = [], cell.path
    phase: Phase | None = last
    while phase is not None:
        way.append((phase, phase.start, stop))
        stop, phase = phase.start, by_name[phase.parent] if phase.parent else None
    return way[::-1]


@given(cells_of, fractions)
def test_every_cell_gets_its_whole_path(cells: list[Cell], fraction: float) -> None:
    phases = grow(cells, fraction)
    for cell in cells:
        way = way_to(cell, phases)
        assert way[0][1] == 0
        assert all(before[2] == after[1] for before, after in itertools.pairwise(way))
        on_mixture = sum(stop - start for phase, start, stop in way if phase.on == "mixture")
        on_domains = sum(stop - start for phase, start, stop in way if phase.on == "domains")
        assert (on_mixture, on_domains) == (cell.pretrain, cell.special)
        assert way[-1][0].stop == cell.path, "a cell ends where its phase stops, at the end of its path"


@given(cells_of, fractions)
def test_the_rate_of_a_cell_is_the_one_its_path_defines(cells: list[Cell], fraction: float) -> None:
    """Constant up to the decay's start, then the decay from there to the path's end, and nothing else."""
    phases = grow(cells, fraction)
    for cell in cells:
        turn = decay_start(cell.path, fraction)
        for phase, start, stop in way_to(cell, phases):
            if start < stop:
                assert phase.decay == (None if stop <= turn else (turn, cell.path))
                assert stop <= turn or start >= turn


@given(cells_of, fractions)
def test_checkpoints_stand_wherever_a_phase_is_left(cells: list[Cell], fraction: float) -> None:
    phases = grow(cells, fraction)
    by_name = {phase.name: phase for phase in phases}
    for position, phase in enumerate(phases):
        assert phase.save_at == tuple(sorted(set(phase.save_at)))
        if phase.parent:
            parent = by_name[phase.parent]
            assert phase.start in parent.save_at
            assert phases.index(parent) < position
            assert phase.splits == (parent.on == "mixture" and phase.on == "domains")


@given(cells_of, fractions, st.integers(1, 8))
def test_sharing_never_costs_more(cells: list[Cell], fraction: float, experts: int) -> None:
    together = tokens_trained(grow(cells, fraction), experts, 1)
    alone = [tokens_trained(grow([cell], fraction), experts, 1) for cell in set(cells)]
    assert max(alone) <= together <= sum(alone)
    assert [tokens_trained(grow([cell], fraction), experts, 1) for cell in cells] == [c.steps(experts) for c in cells]


@given(st.permutations([Cell(SMALL, d, s) for d in (0, 50, 100) for s in (0, 10, 40) if d + s]))
def test_order_of_cells_does_not_matter(cells: list[Cell]) -> None:
    assert grow(cells, 0.2) == grow(sorted(cells, key=lambda cell: cell.id), 0.2)


def test_one_trunk_serves_all_cells_of_a_size() -> None:
    phases = grow([Cell(SMALL, 100, 0), Cell(SMALL, 200, 0), Cell(SMALL, 50, 200)], 0.2)
    trunks = [phase for phase in phases if phase.parent is None]
    assert len(trunks) == 1
    assert trunks[0].stop == 160  # the longest: 80 % of the dense 200
    assert trunks[0].save_at == (50, 80, 160)


def test_a_short_tail_starts_its_decay_on_the_mixture() -> None:
    phases = grow([Cell(SMALL, 90, 10)], 0.2)
    assert [(p.on, p.start, p.stop, p.decay) for p in phases] == [
        ("mixture", 0, 80, None),
        ("mixture", 80, 90, (80, 100)),
        ("domains", 90, 100, (80, 100)),
    ]


def test_cosine_paths_share_a_trunk_only_where_they_are_equally_long() -> None:
    cells = [Cell(SMALL, 100, 0), Cell(SMALL, 60, 40), Cell(SMALL, 200, 0)]
    phases = grow(cells, 1.0)
    assert [(p.on, p.start, p.stop, p.decay) for p in phases] == [
        ("mixture", 0, 0, None),  # step 0, where all begin
        ("mixture", 0, 100, (0, 100)),
        ("domains", 60, 100, (0, 100)),
        ("mixture", 0, 200, (0, 200)),
    ]


def test_without_a_decay_one_trunk_goes_to_every_end() -> None:
    phases = grow([Cell(SMALL, 100, 0), Cell(SMALL, 60, 40)], 0.0)
    assert [(p.on, p.start, p.stop, p.decay) for p in phases] == [
        ("mixture", 0, 100, None),
        ("domains", 60, 100, None),
        ("domains", 100, 100, (100, 100)),
        ("mixture", 100, 100, (100, 100)),
    ]


def test_an_empty_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        Cell(SMALL, 0, 0)
