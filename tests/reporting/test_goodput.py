"""Where the time went, added up over processes and restarts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitjax.config import write_record
from splitjax.reporting.goodput import goodput, told
from splitjax.runs.phase_record import FORMAT
from splitjax.runs.run_folder import RunFolder


def row(phase: str, steps: float, tokens: int, **rest: float) -> str:
    causes = dict.fromkeys(("compile", "data", "checkpoint", "evaluation", "other"), 0.0)
    return json.dumps({"phase": phase, "seconds": {"steps": steps, **causes, **rest}, "tokens": tokens}) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A trunk of 10 steps of 8 tokens, 5 of them made twice; experts at work."""
    about = {"start": 0, "stop": 10, "on": "mixture", "seeds": [None], "ends": [], "parent": None}
    made = RunFolder(tmp_path)
    shared = {"format": FORMAT, "identity": "x"}
    write_record(made.phase("trunk") / "phase.json", shared | {"phase": about})
    write_record(made.phase("trunk") / "done.json", shared | {"stop": 10, "validation": {}, "log": ""})
    after = about | {"on": "domains", "start": 10, "parent": "trunk"}
    write_record(made.phase("experts") / "phase.json", shared | {"phase": after})
    rows = [row("trunk", 6.0, 80, compile=2.0), row("trunk", 3.0, 40), row("experts", 1.0, 24, data=4.0)]
    made.times.write_text("".join(rows) + '{"phase": "tr')
    return made


def test_steps_made_again_do_not_count(folder: RunFolder) -> None:
    found = goodput(folder, 3, 8)
    assert found is not None
    assert found["wall"] == 16.0
    assert found["seconds"]["redone"] == 3.0
    assert found["seconds"]["steps"] == 7.0
    assert found["share"] == pytest.approx(7 / 16)
    assert told(found) == "44% of 16 s in steps; data 25%, redone 19%, compile 12%"


def test_experts_of_several_seeds_need_the_tokens_of_all_of_them(folder: RunFolder) -> None:
    """10 steps of 8 tokens of 3 experts of each of 2 seeds; of 600 tokens a fifth was made twice."""
    about = {"start": 10, "stop": 20, "on": "domains", "seeds": [None, 1], "ends": [], "parent": "trunk"}
    write_record(folder.phase("experts") / "phase.json", {"format": FORMAT, "identity": "x", "phase": about})
    write_record(folder.phase("experts") / "done.json",
                 {"format": FORMAT, "identity": "x", "stop": 20, "validation": {}, "log": ""})
    folder.times.write_text(row("experts", 9.0, 500, data=1.0) + row("experts", 1.0, 100, other=1.5))
    found = goodput(folder, 3, 8)
    assert found is not None
    assert found["seconds"] == {"steps": 8.0, "redone": 2.0, "compile": 0.0, "data": 1.0, "checkpoint": 0.0,
                                "evaluation": 0.0, "other": 1.5}
    assert found["share"] == pytest.approx(8 / 12.5)


def test_nothing_trained_is_nothing_to_tell(tmp_path: Path) -> None:
    assert goodput(RunFolder(tmp_path), 3, 8) is None


@pytest.mark.parametrize(("tokens", "done"), [(40, True), (80, True), (90, False)])
def test_tokens_that_are_missing_from_the_account_are_not_made_again(
    folder: RunFolder, tokens: int, done: bool
) -> None:
    """Of 80 that the trunk needs; a process that was killed took its account with it, and what goes on may need more.

    Seconds are told to a tenth."""
    if not done:
        (folder.phase("trunk") / "done.json").unlink()
    folder.times.write_text(row("trunk", 6.26, tokens, data=2.13))
    found = goodput(folder, 3, 8)
    assert found is not None
    assert (found["wall"], found["share"]) == (8.4, pytest.approx(6.26 / 8.39))
    assert [found["seconds"][cause] for cause in ("steps", "redone", "data")] == [6.3, 0.0, 2.1]


def test_no_time_at_all_is_no_share(folder: RunFolder) -> None:
    folder.times.write_text(row("trunk", 0.0, 8))
    found = goodput(folder, 3, 8)
    assert found is not None
    assert (found["wall"], found["share"]) == (0.0, 0.0)


def test_a_moment_of_training_is_told_too() -> None:
    """Less than a twentieth of a second is 0.0 s: no share can be made of it."""
    nothing = dict.fromkeys(("steps", "compile", "data"), 0.0)
    assert told({"wall": 0.0, "share": 0.0, "seconds": nothing}) == "0% of 0 s in steps"


def test_causes_are_told_from_half_a_per_cent_on_the_largest_first() -> None:
    seconds = {"steps": 800.0, "redone": 5.0, "compile": 5.1, "data": 29.9, "checkpoint": 160.0}
    assert told({"wall": 1000.0, "share": 0.8, "seconds": seconds}) == (
        "80% of 1,000 s in steps; checkpoint 16%, data 3%, compile 1%")
