"""`train.seeds` in a run: seeds are added to what stands, scored on the same windows, and told beside it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from splitjax import cli
from splitjax.config import Model, hash_file, load
from splitjax.evaluate import mean_and_error
from splitjax.law import Table
from splitjax.reporting import status
from splitjax.runs.job import Job
from splitjax.runs.model_places import find, places
from splitjax.runs.phase_tree import Cell
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.sweeping import observations
from splitjax.serving.loaded_models import router_of
from splitjax.stages.law_after import measured_table
from splitjax.stages.sequence import observed

from .test_processes import tree

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path) -> tuple[Path, Path]:
    """A finished run of one seed, and a copy of it that was given a second one. Returns both folders."""
    folder = tmp_path_factory.mktemp("seeds")
    config = tree(corpus_file, folder)
    assert cli.main(["run", str(config)]) == 0
    shutil.copytree(folder / "run", folder / "two")
    assert cli.main(["run", str(config), f"run_dir={folder / 'two'}", "train.seeds=2", "--redo", "train"]) == 0
    return folder / "run", folder / "two"


def told(folder: Path, name: str = "results.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def phases(folder: Path) -> dict[str, str]:
    """Last checkpoint and log of every phase → its hash."""
    files = [*folder.glob("phases/*/checkpoints/*/*.json"), *folder.glob("phases/*/metrics.jsonl")]
    return {str(path.relative_to(folder)): hash_file(path) for path in files}


def test_what_was_trained_stays_and_further_seeds_have_their_own_phases(grown: tuple[Path, Path]) -> None:
    one, two = map(phases, grown)
    assert one.items() <= two.items(), "not a byte of the first seed was trained anew"
    first, both = ({path.split("/")[1] for path in each} for each in (one, two))
    tag = min(first).split(".")[0]
    assert {name.split(".")[0] for name in both - first} == {f"{tag}-s1"}
    assert {name.replace("-s1.", ".") for name in both - first} == first


def test_results_only_gain(grown: tuple[Path, Path]) -> None:
    one, two = map(told, grown)
    noise = two.pop("seeds")
    assert {key for key in one if one[key] != two[key]} == {"provenance"}
    assert one.keys() == two.keys()
    assert noise["seeds"] == [0, 1]
    for name, model in one["models"].items():
        losses = noise["models"][name]["routed"]["by_seed"]
        assert losses[0] == pytest.approx(model["after_prefix"]["routed"]["mean"])
        assert losses[0] != losses[1], "another initialisation"
        assert noise["models"][name]["oracle"]["by_seed"][0] == pytest.approx(model["test"]["mean"])
        assert (noise["models"][name]["routed"]["mean"], noise["models"][name]["routed"]["error"]) == pytest.approx(
            mean_and_error(losses))
    for name, gain in one["gains"].items():
        assert noise["gains"][name]["routed"]["by_seed"][0] == pytest.approx(gain["routed"]["nats"])
    main = told(grown[1], "main.json")
    assert main["models"] == told(grown[0], "main.json")["models"] == main["seeds"]["0"]
    validation = noise["models"]["dense"]["validation"]["by_seed"]
    assert validation[1] == pytest.approx(sum(main["seeds"]["1"]["dense"].values()) / len(one["domains"]))


def test_another_run_with_that_seed_has_the_same_losses_on_the_same_data(
    grown: tuple[Path, Path], tmp_path: Path, corpus_file: Path
) -> None:
    """A sweep's cells have seeds too: trained that way the second seed is the same model."""
    config = load(grown[1] / "config.yaml")
    job = Job(config, RunFolder(config.folder), Reporter())
    cell = places(job)["dense"].phase.ends[0]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(load(grown[0] / "config.yaml").resolved() | {
        "run_dir": str(tmp_path / "run"), "split": None,
        "sweep": {"models": [config.model.model_dump(mode="json")], "seeds": [1], "d_special": [0],
                  "d_pretrain": [cell.pretrain * job.clock.tokens_per_step]},
    }))
    for command in ("prepare", "sweep"):
        assert cli.main([command, str(tmp_path / "c.yaml")]) == 0
    table = Table.read(tmp_path / "run" / "observations.csv")
    assert dict(zip(table.domain, table.loss, strict=True)) == pytest.approx(
        told(grown[1], "main.json")["seeds"]["1"]["dense"], abs=1e-6)


def test_a_phase_of_a_further_seed_that_was_cut_short_is_taken_up(
    grown: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown[1], run)
    before = phases(run)
    (cut, *_) = sorted(run.glob("phases/*-s1.trunk.experts*"))
    (cut / "done.json").unlink()
    for name in ("train", "evaluate", "report"):
        (run / "done" / f"{name}.json").unlink()
    assert cli.main(["run", str(run), f"run_dir={run}"]) == 0
    err = capsys.readouterr().err
    assert "models of 2 seeds in" in err
    assert phases(run) == before
    assert told(run)["seeds"] == told(grown[1])["seeds"]


def test_what_serves_takes_the_first_seed(
    grown: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [Job(load(run / "config.yaml"), RunFolder(run), Reporter()) for run in grown]
    for name in places(jobs[0]):
        one, two = (find(job, name) for job in jobs)
        assert (one.phase.name, one.step) == (two.phase.name, two.step)
    cards = []
    for run, job in zip(grown, jobs, strict=True):
        assert cli.main(["export", str(run), f"run_dir={run}", "--out", str(tmp_path / run.name)]) == 0
        assert ("Weights of training seed 0, the first of 2." in capsys.readouterr().err) == (run == grown[1])
        cards.append((tmp_path / run.name / "README.md").read_text())
        assert router_of(job, "planned").router.name == router_of(jobs[0], "planned").router.name
    weights = [sorted(map(hash_file, (tmp_path / run.name).rglob("*.safetensors"))) for run in grown]
    assert weights[0] == weights[1] != []
    assert "means over 2 training seeds; these weights are of seed 0." in cards[1]
    assert "training seeds" not in cards[0]
    found = status(RunFolder(grown[1]))
    assert set(found["phases"].values()) == {"done"}
    assert {found["stages"][stage] for stage in ("train", "evaluate", "report")} == {"done"}


def test_changed_weights_of_a_further_seed_are_no_longer_believed(grown: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown[1], run)
    assert RunFolder(run).belongs("evaluate")
    (end, *_) = [name for name in told(run, "done/train.json")["weights"] if "-s1." in name]
    (run / end).write_text((run / end).read_text() + " ")
    assert not RunFolder(run).belongs("evaluate")


def test_page_terminal_and_verdict_tell_both(grown: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(grown[1]), f"run_dir={grown[1]}"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in ("routed, 2 seeds", "± over seeds", "(windows) ±", "(seeds) %", "over 2 training seeds", "12.7"):
        assert words in out
    assert "Over 2 training seeds" in (grown[1] / "report.html").read_text()


def test_experts_that_are_jobs_train_every_seed(tmp_path: Path, corpus_file: Path) -> None:
    config = str(tree(corpus_file, tmp_path, placement="separate", seeds=2))
    assert cli.main(["prepare", config]) == 0
    assert cli.main(["train", config]) == 0
    for expert in range(3):
        assert cli.main(["train", config, "--expert", str(expert)]) == 0
    assert cli.main(["run", config]) == 0
    assert len(told(tmp_path / "run")["seeds"]["models"]["planned"]["routed"]["by_seed"]) == 2


def test_a_law_with_results_has_the_rows_of_every_seed(grown: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown[1], run)
    job = Job(load(run / "config.yaml", [f"run_dir={run}"]), RunFolder(run), Reporter())
    small = Cell(Model(d_model=8, n_layers=1, n_heads=2), 4, 0)
    observations.write(job.folder.observations, observed(job, small, dict.fromkeys(job.corpus.domains, 6.0)))
    table = measured_table(job)
    assert table.run is not None
    main = told(run, "main.json")["seeds"]
    for name, place in places(job).items():
        if name == "seed":
            continue
        (own,) = (cell for cell in place.phase.ends if cell.path == place.step)
        for seed, cell in ((0, own), (1, replace(own, seed=1))):
            rows = [str(each) == cell.id for each in table.run]
            assert sorted(table.loss[rows]) == pytest.approx(sorted(main[str(seed)][name].values()), abs=1e-6)
    assert len(table) == 3 * (1 + 2 * 3), "the small run, and planned, dense and 80/20 of two seeds, on three domains"
