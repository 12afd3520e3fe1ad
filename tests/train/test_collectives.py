from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .hlo import collectives, crossing

EIGHT = [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("groups", "crosses"),
    [
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", False),
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", True),
        ("replica_groups=[2,4]<=[8]", False),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", True),
        ("replica_groups=[4,2]<=[2,2,2]T(0,2,1)", False),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}", False),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}", True),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2], device_ids=([2,2,2]T(0,2,1)) {'c'}", False),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2], device_ids=([2,2,2]T(2,1,0)) {'c'}", True),
        ("source_target_pairs={{0,1},{1,0},{4,5}}", False),
        ("source_target_pairs={{3,4}}", True),
    ],
)
def test_groups_are_read_in_every_notation(groups, crosses):
    text = f"  %x = (f32[2]{{0}}, /*index=1*/f32[2]{{0}}) all-reduce(%y), channel_id=1, {groups}, to_apply=%add"
    assert len(collectives(text)) == 1
    assert bool(crossing(text, EIGHT)) == crosses


def test_no_collective_crosses_the_expert_axis_and_a_wrong_step_is_caught():
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.collectives"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    for line in lines[:2]:
        loop, count, crossings = line.split(maxsplit=2)
        assert int(count) > 0, "no collective at all: the check would pass on nothing"
        assert crossings == "[]", f"{loop}: {crossings}"
    assert "all-" in lines[2]
