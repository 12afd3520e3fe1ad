"""Files of a run folder that people edit or lose: the account of time, and the phases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitjax import cli, stages
from splitjax.config import from_dict, to_yaml, write_record
from splitjax.reporting.goodput import goodput
from splitjax.runs.run_folder import RunFolder
from splitjax.train import CAUSES
from tests.tiny import tiny_tree

GOOD = {"phase": "p", "tokens": 10, "seconds": dict.fromkeys(CAUSES, 1.0)}
EDITED = [
    "", "{", "[]", "3", "null", "[" * 100_000, '{"phase": 3, "tokens": 1, "seconds": {}}', "\x00", "é",
    *(json.dumps(GOOD | change) for change in (
        {"phase": ["p"]}, {"phase": "../../etc"}, {"phase": "a\0b"}, {"tokens": "10"}, {"tokens": -1},
        {"tokens": 1e300}, {"seconds": [1]}, {"seconds": {"lunch": 1.0}}, {"seconds": {"steps": "1"}},
        {"seconds": {"steps": float("nan")}}, {"seconds": {"steps": 1e308}}, {"seconds": {"steps": -1.0}},
        {"seconds": None},
    )),
]


@pytest.mark.parametrize("edited", EDITED)
def test_a_row_of_the_account_of_time_that_is_none_is_left_out(tmp_path: Path, edited: str) -> None:
    folder = RunFolder(tmp_path)
    folder.times.write_text(f"{json.dumps(GOOD)}\n{edited}\n{json.dumps(GOOD)}\n", encoding="utf-8")
    found = goodput(folder, 2, 8)
    assert found is not None
    assert found["wall"] == 2.0 * len(CAUSES)


def test_a_forged_phase_beside_it_is_no_traceback(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.times.write_text(json.dumps(GOOD) + "\n")
    record = {"format": 3, "identity": "x", "phase": {"parent": None, "ends": []}}
    write_record(folder.phase("p") / "phase.json", record)
    (folder.phase("p") / "done.json").touch()
    assert goodput(folder, 2, 8) is not None


@pytest.mark.slow
def test_a_run_whose_phases_are_gone_is_told_as_that(
    corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.5, "sweep": None, "budget": {"tokens": "4k"}}
    stages.run(from_dict(tree))
    (tmp_path / "c.yaml").write_text(to_yaml(tree))
    (tmp_path / "run" / "phases").rename(tmp_path / "phases")
    out = str(tmp_path / "out")
    for words in (["status"], ["report"], ["export", "--out", out], ["evaluate"], ["generate", "--", "x"]):
        command, *options = words
        code = cli.main([command, str(tmp_path / "c.yaml"), *options])
        said = capsys.readouterr().err
        assert code in (0, 2), (words, said)
        assert "Traceback" not in said
    assert cli.main(["run", str(tmp_path / "c.yaml")]) == 0
