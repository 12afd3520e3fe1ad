"""The main job from text to page, on real components."""

from __future__ import annotations

import csv
import html
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from splitjax import cli, stages
from splitjax.config import from_dict, load, write_record
from splitjax.data import Corpus
from splitjax.reporting import page
from splitjax.runs.job import Job
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from tests.tiny import tiny_tree
from tests.whole_run import copied


def splitjax(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "splitjax", *map(str, args)], capture_output=True, text=True, timeout=400
    )


@pytest.fixture
def finished(whole_run: Path) -> Path:
    """One whole run, through the command line, for the tests that only look."""
    return whole_run


@pytest.fixture
def own(tmp_path: Path, whole_run: Path) -> Path:
    """The same run, to be run again."""
    return copied(whole_run, tmp_path).parent


def test_what_the_sweep_cost_is_told_beside_the_main_run(finished: Path) -> None:
    plan, results = (json.loads((finished / "run" / name).read_text()) for name in ("plan.json", "results.json"))
    told, costs = plan["sweep"], results["costs"]
    assert told["flops"] == pytest.approx(costs["sweep"]["flops"])
    # the main run has 8k tokens, whatever the split; steps of 128 tokens leave some over
    main = 8000 * costs["planned_flops"] / costs["planned_tokens"]
    assert told["of_main"] == pytest.approx(costs["sweep"]["flops"] / main, rel=0.1)
    assert told["further"].startswith("One more run (N = ")
    said = " ".join((finished / "stderr").read_text().split())
    assert f"The sweep cost {told['of_main']:.2g} times the main run's FLOPs. One more run (N = " in said
    page_text = html.unescape(re.sub("<[^>]+>", "", (finished / "run" / "report.html").read_text()))
    assert f"{told['of_main']:.2g} times the main run's (shared trunks" in page_text


def test_on_named_hardware_the_sweep_is_told_in_its_time_too(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [str(own / "tiny.yaml"), "topology=h100:1"]
    assert cli.main(["plan", *words, "--redo", "plan"]) == 0
    said = " ".join(capfd.readouterr().err.split())
    told = json.loads((own / "run" / "plan.json").read_text())["sweep"]
    assert cli.main(["sweep", *words, "--dry-run", "--json"]) == 0
    dry = json.loads(capfd.readouterr().out)
    assert told["topology"] == "h100:1"
    assert told["of_main_time"] == pytest.approx(dry["device_hours"] / dry["main_device_hours"])
    assert told["of_main_time"] != pytest.approx(told["of_main"], rel=0.05)
    assert f"times the main run's FLOPs, {told['of_main_time']:.2g} times its time on h100:1 as predicted. One" in said


def test_every_stage_is_held_to_all_that_it_depends_on(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished run, asked again: what each stage was done with, by name."""
    held: dict[str, set[str]] = {}
    asked = Job.skip_if_done

    def heard(self: Job, stage: str, inputs: dict[str, object], *rest: object, **more: object) -> bool:
        held[stage] = set(inputs)
        return bool(asked(self, stage, inputs, *rest, **more))

    monkeypatch.setattr(Job, "skip_if_done", heard)
    assert cli.main(["run", str(own / "tiny.yaml")]) == 0
    data = {"manifest"}
    assert held == {
        "prepare": {"data", "seed"},
        "sweep": data | {"sweep", "train", "seed", "windows"},
        "fit": {"observations", "law", "seed"},
        "plan": data | {"model", "budget", "split", "train", "law"},
        "train": data | {"model", "budget", "train", "seed", "plan", "compare", "law"},
        "evaluate": data | {"main", "evaluate", "seed"},
        "report": {"results", "plan", "law", "observations"},
    }


def test_what_the_sweep_made_is_counted(finished: Path) -> None:
    """Rows of three domains each."""
    with open(finished / "run" / "observations.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    cells, sizes = len({row["run"] for row in rows}), len({row["n_params"] for row in rows})
    said = " ".join((finished / "stderr").read_text().split())
    assert len(rows) == 3 * cells
    assert f"{3 * cells} observations of {cells} cells over {sizes} sizes, " in said


def test_a_run_leaves_what_the_contract_names(finished: Path) -> None:
    run = finished / "run"
    for name in ("config.yaml", "data/manifest.json", "observations.csv", "law.json", "plan.json", "results.json"):
        assert (run / name).is_file(), name
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", ""), "the page loads nothing"
    assert len(page) < 3_000_000
    assert "moves/&lt;turns&gt;" in page
    assert "<turns>" not in page
    for heading in ("The plan's evidence", "What was spent", "of the training time in steps that count"):
        assert heading in html.unescape(page)
    assert str(run / "report.html") in (finished / "stdout").read_text().replace("\n", "")


def test_every_observation_is_the_end_of_a_decay(finished: Path) -> None:
    with open(finished / "run" / "observations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 * 3  # 3 sizes x (3 x 3 - 1) cells x 3 domains
    assert len({row["n_params"] for row in rows}) == 3
    assert any(row["d_special"] == "0" for row in rows)
    assert any(row["d_pretrain"] == "0" for row in rows)
    for record in (finished / "run" / "phases").glob("*/done.json"):
        phase = json.loads((record.parent / "phase.json").read_text())["phase"]
        if json.loads(record.read_text())["validation"]:
            assert phase["decay"] is not None
            assert phase["decay"][1] == phase["stop"]


def test_the_plan_is_older_than_the_main_run(finished: Path) -> None:
    run = finished / "run"
    plan = json.loads((run / "plan.json").read_text())
    tag = json.loads((run / "results.json").read_text())["models"]["planned"]["cell"].split(".")[0]
    for phase in (run / "phases").glob(f"{tag}.*/done.json"):
        assert phase.stat().st_mtime > (run / "plan.json").stat().st_mtime
    assert plan["law"]["hash"]
    assert {"decision", "split_fraction", "interval", "flat_region", "predicted_loss"} <= set(plan)


def test_compared_models_spent_the_same_tokens(finished: Path) -> None:
    models = json.loads((finished / "run" / "results.json").read_text())["models"]
    assert len({row["tokens"] for row in models.values() if "tokens" in row}) == 1
    assert models["dense"]["d_special"] == 0
    assert models["80/20"]["experts"] == 3


def test_training_learns(finished: Path) -> None:
    results = json.loads((finished / "run" / "results.json").read_text())
    assert results["models"]["dense"]["test"]["mean"] < results["unigram_entropy"]


def test_a_second_run_does_nothing_and_says_so(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "run").rglob("*.json")}
    again = splitjax("run", finished / "tiny.yaml")
    assert again.returncode == 0
    assert "Nothing to do" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in (finished / "run").rglob("*.json")} == before


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2])
def test_what_is_done_is_no_work_left(seeds: int, finished: Path, tmp_path: Path) -> None:
    """Of sweep and main run alike; the law's split, not the half that was assumed before it."""
    shutil.copytree(finished / "run", tmp_path / "run")
    reporter = Reporter(Console(quiet=True))
    config = load(finished / "tiny.yaml", [f"run_dir={tmp_path / 'run'}", f"train.seeds={seeds}"])
    stages.run(config, redo="evaluate" if seeds == 1 else "train", reporter=reporter)
    left = reporter._time._left
    assert (left.work, left.starts) == (pytest.approx(0.0, abs=1.0), pytest.approx(0.0, abs=1e-6))
    assert reporter._time.trained == pytest.approx(1.0)
    assert (reporter._time._done > 0) == (seeds == 2), "a further seed is the only training that there is"


def test_a_changed_key_is_refused_and_redo_covers_it(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = splitjax("run", own / "tiny.yaml", "evaluate.prefix=4")
    assert changed.returncode == 2
    assert "evaluate.prefix (8 → 4)" in changed.stderr
    assert len(changed.stderr.strip().splitlines()) == 1
    assert cli.main(["run", str(own / "tiny.yaml"), "evaluate.prefix=4", "--redo", "evaluate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prefix"] == 4


def test_data_show_decodes_what_a_model_sees(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(finished / "run")
    assert cli.main(["data", "show", run, "--domain", "colours", "--n", "2", "--split", "test", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["documents"]
    assert list(told) == ["colours"]
    assert len(told["colours"]) == 2
    assert cli.main(["data", "show", run, "--n", "1"]) == 0
    text = capsys.readouterr().out
    assert text.count("document 1 of 1") == 3
    head, *rows = [line.split() for line in text.splitlines()[:4]]
    assert head[:5] == ["domain", "train", "documents", "train", "tokens"]
    manifest = Corpus.open(finished / "run" / "data").manifest
    assert [row[0] for row in rows] == list(manifest.domains)
    assert [int(row[2].replace(",", "")) for row in rows] == list(manifest.sizes)
    assert told["colours"][0] not in text, "test documents are not train documents"


def test_law_settings_reach_the_fit(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished / "run", tmp_path / "run", ignore=shutil.ignore_patterns("phases", ".lock"))
    overrides = ["law.families=[effective_data, additive]", "law.loss=squared", "law.bootstrap=13"]
    assert cli.main(["fit", str(tmp_path / "run"), *overrides, "--redo", "fit", "--json"]) == 0
    fitted = json.loads(capsys.readouterr().out)
    assert {family["family"] for family in fitted["families"]} == {"effective_data", "additive"}
    assert (fitted["settings"]["loss"], fitted["settings"]["bootstrap"]) == ("squared", 13)


def test_the_accounting_reaches_the_plan(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished / "run", tmp_path / "run", ignore=shutil.ignore_patterns("phases", ".lock"))
    assert cli.main(["plan", str(tmp_path / "run"), "budget.accounting=per_model", "--redo", "plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["accounting"] == "per_model"
    assert "dense_equal_compute" in plan["baselines"]


def test_windows_and_splits_asked_for_are_measured(tmp_path: Path, corpus_file: Path) -> None:
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.5, "sweep": None}
    tree["evaluate"] = {"windows": 5, "prefix": 8, "compare": [0.25]}
    tree["budget"] = {"tokens": "4k", "accounting": "per_model"}
    results = stages.run(from_dict(tree))
    assert results["windows"] == 5
    models = results["models"]
    assert models["split at 25 %"]["fraction"] == pytest.approx(0.25, abs=0.03)
    assert models["dense_equal_compute"]["tokens"] == models["planned"]["tokens"] > models["dense"]["tokens"]


def test_status_tells_stages_and_phases(finished: Path) -> None:
    told = json.loads(splitjax("status", finished / "run", "--json").stdout)
    assert set(told["stages"].values()) == {"done"}
    assert set(told["phases"].values()) == {"done"}
    assert told["running"] is False


@pytest.mark.parametrize("split", [0.0, 1.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_an_explicit_split_and_both_corners_run_to_the_end(
    split: float, tmp_path: Path, corpus_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": split, "sweep": None}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    assert cli.main(["run", str(tmp_path / "c.yaml"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["models"]["planned"]["fraction"] == pytest.approx(split, abs=0.05)
    assert results["models"]["planned"]["experts"] == (1 if split == 1 else 3)
    assert not (tmp_path / "run" / "law.json").exists()
    assert (tmp_path / "run" / "report.html").exists()


def test_killed_in_the_main_run_it_ends_the_same(whole_run: Path, tmp_path: Path) -> None:
    """SIGKILL at two moments of its training, the same command again: the same losses, bit for bit."""
    config = copied(whole_run, tmp_path)
    run = tmp_path / "run"
    before = json.loads((run / "main.json").read_text())["models"]
    tag = json.loads((run / "results.json").read_text())["models"]["planned"]["cell"].split(".")[0]
    for stage in ("train", "evaluate", "report"):  # as a run lies there whose plan was just made
        (run / "done" / f"{stage}.json").unlink()
    for name in ("main.json", "results.json", "report.html"):
        (run / name).unlink()
    for phase in run.glob(f"phases/{tag}.*"):
        shutil.rmtree(phase)
    for phases in (1, 2):
        process = subprocess.Popen([sys.executable, "-m", "splitjax", "run", str(config)], stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 120
        while len(list(run.glob(f"phases/{tag}.*/metrics.jsonl"))) < phases:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (run / "main.json").exists()
    done = splitjax("run", config)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "main.json").read_text())["models"] == before


@pytest.mark.slow
def test_killed_anywhere_it_ends_the_same(finished: Path, tmp_path: Path, corpus_file: Path) -> None:
    """SIGKILL at random moments, the same command again: the same observations and the same losses, bit for bit."""
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tiny_tree(corpus_file, tmp_path / "run")))
    command = [sys.executable, "-m", "splitjax", "run", str(tmp_path / "c.yaml")]
    rng = random.Random(7)
    kills = 0
    for _ in range(2):
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(rng.uniform(6, 13))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    done = splitjax("run", tmp_path / "c.yaml")
    assert done.returncode == 0, done.stderr
    assert kills
    same = "observations.csv"
    assert (tmp_path / "run" / same).read_bytes() == (finished / "run" / same).read_bytes()
    models = [json.loads((folder / "run" / "main.json").read_text())["models"] for folder in (finished, tmp_path)]
    assert models[0] == models[1]


def test_sigterm_in_training_saves_and_exits_143(tmp_path: Path, corpus_file: Path) -> None:
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.5, "sweep": None, "budget": {"tokens": "2M"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "splitjax", "run", str(tmp_path / "c.yaml")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob("run/phases/*/metrics.jsonl")):
        time.sleep(0.2)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "the same command goes on" in errors
    assert list(tmp_path.glob("run/phases/*/checkpoints/*/checkpoint.json"))


def believe(folder: RunFolder) -> None:
    """Write the records of the stages for what lies there now, as a forger would."""
    for stage in ("plan", "train", "evaluate"):
        told = folder.done(stage)
        wrote, read = ([folder.path / name for name in told[kind]] for kind in ("outputs", "read"))
        folder.mark_done(stage, {}, wrote, read=read)


def test_the_page_escapes_whatever_the_files_say(finished: Path, tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run, ignore=shutil.ignore_patterns("checkpoints", ".lock"))
    results, plan = (json.loads((run / name).read_text()) for name in ("results.json", "plan.json"))
    results["provenance"] = {key: {evil: evil} if isinstance(value, dict) else evil
                             for key, value in results["provenance"].items()}
    results["models"][evil] = results["models"]["80/20"]
    (run / "results.json").write_text(json.dumps(results))
    plan["notes"] = [evil]
    write_record(run / "plan.json", {key: value for key, value in plan.items() if key != "hash"})
    believe(RunFolder(run))
    page.write(RunFolder(run), load(run / "config.yaml"))
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert" in text
    assert "<script" not in text
