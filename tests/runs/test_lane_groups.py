"""Which phases are lanes of one stack: a function of the sweep, stored, never of what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitjax.config import Model, UserError
from splitjax.runs.phase_tree import Cell, Phase, grow
from splitjax.runs.sweeping.lane_groups import LANES, lane_groups

SMALL, LARGE = Model(d_model=16, n_heads=2), Model(d_model=32, n_heads=2)
CELLS = [Cell(model, pretrain, 10, seed) for model in (SMALL, LARGE) for pretrain in (50, 100) for seed in (None, 1)]


def groups_of(folder: Path, phases: list[Phase], size: int = 1) -> list[list[str]]:
    found = lane_groups(folder / "lanes.json", phases, lambda phase: phase.stack_size(3), lambda model: size)
    return [[phase.name for phase in group] for group in found]


def test_phases_of_one_shape_and_depth_go_together_parents_first(tmp_path: Path) -> None:
    phases = grow(CELLS, 0.2)
    groups = groups_of(tmp_path, phases)
    assert sorted(name for group in groups for name in group) == sorted(phase.name for phase in phases)
    by_name = {phase.name: phase for phase in phases}
    place = {name: at for at, group in enumerate(groups) for name in group}
    assert all(place[phase.parent] < place[phase.name] for phase in phases if phase.parent)
    assert all(len({by_name[name].model for name in group}) == 1 for group in groups)
    trunks = [group for group in groups if group[0].endswith(".trunk")]
    assert [len(group) for group in trunks] == [2, 2], "seeds of one size side by side, sizes apart"
    branches = next(group for group in groups if by_name[group[0]].parent == trunks[0][0])
    assert len(branches) == 4, "off both trunks at both D"


def test_no_group_is_larger_than_its_memory(tmp_path: Path) -> None:
    phases = grow(CELLS, 0.2)
    (tmp_path / "a").mkdir()
    for group in groups_of(tmp_path / "a", phases, size=10_000_000):
        lanes = sum(phase.stack_size(3) for phase in phases if phase.name in group)
        assert lanes <= 6 or len(group) == 1
    many = [Cell(SMALL, pretrain, 10) for pretrain in range(20, 60)]
    assert max(
        sum(phase.stack_size(3) for phase in grow(many, 0.2) if phase.name in group)
        for group in groups_of(tmp_path, grow(many, 0.2))
    ) <= LANES


def test_groups_stay_when_the_sweep_grows_and_what_is_longer_now_is_grouped_anew(tmp_path: Path) -> None:
    few = grow(CELLS[:4], 0.2)
    before = groups_of(tmp_path, few)
    assert groups_of(tmp_path, few) == before, "read back"
    more = grow([*CELLS[:4], Cell(SMALL, 200, 10)], 0.2)
    after = groups_of(tmp_path, more)
    longer = {phase.name for phase in more} - {name for group in before for name in group}
    assert longer
    stops = {phase.name: phase.stop for phase in few}
    same = {phase.name for phase in more if stops.get(phase.name) == phase.stop}
    assert len(same) < len(few), "one goes on, or this test shows nothing"
    for group in before:  # whoever is as long as before stands where it stood, whatever became of the others
        if stayed := [name for name in group if name in same]:
            assert stayed in after
    assert groups_of(tmp_path, more) == after


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    phases = grow(CELLS, 0.2)
    groups_of(tmp_path, phases)
    path = tmp_path / "lanes.json"
    path.write_text(path.read_text().replace("trunk", "drunk", 1))
    with pytest.raises(UserError, match=r"lanes\.json: damaged or edited"):
        groups_of(tmp_path, phases)
