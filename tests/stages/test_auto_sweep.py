"""A sweep that chooses its cells, on real components: written before it starts, the same after a kill, told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from splitjax import cli, stages
from splitjax.config import Config, UserError, from_dict, read_json
from splitjax.runs.phase_tree import Cell
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.sweeping.sweep_rounds import Rounds
from tests.tiny import tiny_tree
from tools.faults.world import command, environment


def tree(corpus_file: Path, run_dir: Path, **auto: Any) -> dict[str, Any]:
    """The tiny run with a main model large enough to have small ones below it."""
    made = tiny_tree(corpus_file, run_dir)
    made["model"] = {"d_model": 32, "n_layers": 1, "n_heads": 2}
    return made | {"sweep": {"auto": {"share": 8.0, "rounds": 2, **auto}}}


def rounds_of(config: Config) -> Rounds:
    known = Rounds.load(RunFolder(config.folder).rounds)
    assert known is not None
    return known


@pytest.fixture(scope="module")
def swept(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("auto") / "run"
    config = from_dict(tree(corpus_file, path))
    stages.prepare(config)
    stages.sweep(config)
    return path


def test_every_round_stands_in_the_run_folder_with_its_reason_and_price(swept: Path, corpus_file: Path) -> None:
    known = rounds_of(from_dict(tree(corpus_file, swept)))
    assert known.ended is not None
    assert 1 <= len(known.rounds) <= 2
    assert all(each.reason and each.flops > 0 for each in known.rounds)
    lines = (swept / "observations.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == {cell.id for cell in known.cells}
    assert "sweep.json" in str(read_json(swept / "done" / "sweep.json")), "it counts among what the stage made"


def test_no_phase_is_trained_twice(swept: Path, corpus_file: Path) -> None:
    """A later round branches off trunks that are saved where it leaves them."""
    rows: dict[str, list[int]] = {}
    for log in (swept / "phases").glob("*/metrics.jsonl"):
        rows[log.parent.name] = [json.loads(line)["tokens"] for line in log.read_text().splitlines() if "loss" in line]
    assert rows
    for name, tokens in rows.items():
        assert len(set(tokens)) == len(tokens), name


def test_what_is_done_is_not_done_again_and_another_main_run_needs_another_sweep(
    swept: Path, corpus_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (swept / "sweep.json").read_bytes()
    stages.sweep(from_dict(tree(corpus_file, swept)))
    assert (swept / "sweep.json").read_bytes() == before
    longer = tree(corpus_file, swept) | {"budget": {"tokens": "12k"}}
    with pytest.raises(UserError, match=r"budget\.tokens.*--redo sweep"):
        stages.sweep(from_dict(longer), redo="plan")


def test_parts_are_refused(swept: Path, corpus_file: Path) -> None:
    with pytest.raises(UserError, match="--part: a sweep that chooses its cells has no parts"):
        stages.sweep(from_dict(tree(corpus_file, swept)), part=(1, 2), redo="sweep")


def test_a_dry_run_needs_no_data_where_the_number_of_domains_is_given(
    corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tree(corpus_file, tmp_path / "none")
    made["data"] = made["data"] | {"domains": {"method": "label", "k": 3}}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(made))
    assert cli.main(["sweep", str(path), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "none").exists()
    (one,) = told["rounds"]
    assert one["cells"] == len(told["cells"]) > 8
    assert 0 < one["share"] <= 8.0
    assert told["flops"] == pytest.approx(one["flops"])
    assert cli.main(["sweep", str(path), "--dry-run"]) == 0
    assert "Rounds, chosen for the main run" in capsys.readouterr().out
    made["data"]["domains"].pop("k")
    path.write_text(yaml.safe_dump(made))
    assert cli.main(["sweep", str(path), "--dry-run"]) == 2
    assert "no prepared data" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_sweep_chooses_the_same_cells_again(swept: Path, corpus_file: Path, tmp_path: Path) -> None:
    """SIGKILL three times, also between rounds: the same rounds, the same observations."""
    made = tree(corpus_file, tmp_path / "run")
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(made))
    for seconds in (12, 25, 40):
        process = subprocess.Popen(command("sweep", path), env=environment(), start_new_session=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not (tmp_path / "run" / "data" / "manifest.json").exists():
            process.kill()
            process.wait()
            stages.prepare(from_dict(made))
            continue
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    stages.sweep(from_dict(made))
    assert (tmp_path / "run" / "observations.csv").read_bytes() == (swept / "observations.csv").read_bytes()
    ours, theirs = (Rounds.load(folder / "sweep.json") for folder in (tmp_path / "run", swept))
    assert ours == theirs


def test_cells_repeat_no_text_more_than_the_main_run(swept: Path, corpus_file: Path) -> None:
    """D and D' of every cell are at most those of the main run's own splits."""
    config = from_dict(tree(corpus_file, swept))
    step = config.train.batch_size * config.train.seq_len
    most = Cell(config.model, 8_000 // step, 8_000 // step // 3)
    for cell in rounds_of(config).foreseen:
        assert cell.pretrain <= most.pretrain + 1
        assert cell.special <= most.special + 1
