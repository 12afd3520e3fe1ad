"""Cards, pages, states and routers after a stage was made anew: nothing quotes the models that were there before."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from splitjax import cli, serving, stages
from splitjax.config import Config, UserError, load
from splitjax.runs.model_places import places
from splitjax.runs.run_folder import RunFolder
from splitjax.serving.export_set import open_run
from splitjax.serving.folder_scores import evaluate_folder
from splitjax.serving.loaded_models import router_of
from tests.tiny import tiny_tree
from tools.faults.world import write_corpus

RATE = "train.learning_rate=1e-4"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one explicit split, all stages done. Returns its config."""
    folder = tmp_path_factory.mktemp("belongs")
    tree = tiny_tree(write_corpus(folder / "docs.jsonl"), folder / "run")
    tree |= {"split": 0.5, "sweep": None, "budget": {"tokens": "3k"}}
    tree["evaluate"] |= {"compare": [], "routers": ["bayes"]}
    (folder / "c.yaml").write_text(yaml.safe_dump(tree))
    stages.run(load(folder / "c.yaml"))
    return folder / "c.yaml"


@pytest.fixture(scope="module")
def retrained(ended: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A copy whose models were trained again at another rate, and the words that name it."""
    copy = tmp_path_factory.mktemp("copy") / "run"
    shutil.copytree(ended.parent / "run", copy)
    words = [str(ended), f"run_dir={copy}", RATE]
    assert cli.main(["train", *words, "--redo", "sweep"]) == 0
    return copy, words


def figures(card: Path) -> list[str]:
    return re.findall(r"\d+\.\d{4}", card.read_text(encoding="utf-8").partition("## Results")[2])


def config_of(words: list[str]) -> Config:
    return load(words[0], words[1:])


def test_an_evaluated_run_is_quoted(ended: Path, tmp_path: Path) -> None:
    serving.export(load(ended), tmp_path / "out")
    assert figures(tmp_path / "out" / "README.md")
    with open_run(load(ended)) as job:
        assert router_of(job, "planned").router.name == "bayes"


def test_models_that_were_trained_anew_are_not_evaluated(
    retrained: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, words = retrained
    assert (copy / "results.json").exists(), "of the models before, or this test shows nothing"
    assert (copy / "router" / "router.json").exists()
    assert not (copy / "report.html").exists()
    assert cli.main(["export", *words, "--out", str(tmp_path / "out")]) == 0
    for card in (tmp_path / "out").rglob("README.md"):
        assert "Not evaluated" in card.read_text(encoding="utf-8")
        assert not figures(card)
    capsys.readouterr()
    assert cli.main(["status", str(copy), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["stages"]["train"] == "done"
    assert told["stages"]["evaluate"] == told["stages"]["report"] == "not done"
    assert told["report"] is None
    with open_run(config_of(words)) as job:
        assert router_of(job, "planned").router.name == "prefix", "the router was chosen for other experts"
    assert evaluate_folder(tmp_path / "out", config_of(words))["run"] == {}
    assert cli.main(["report", *words]) == 2
    assert "stage evaluate has not run" in capsys.readouterr().err


def test_once_evaluated_the_card_says_what_the_weights_score(
    ended: Path, retrained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    copy, words = tmp_path / "run", [*retrained[1]]
    shutil.copytree(retrained[0], copy)
    words[1] = f"run_dir={copy}"
    assert cli.main(["evaluate", *words]) == 0
    serving.export(config_of(words), tmp_path / "out")
    scored = evaluate_folder(tmp_path / "out", config_of(words))["models"]["own expert"]["bits_per_byte"]
    card = figures(tmp_path / "out" / "README.md")
    assert {f"{bits:.4f}" for bits in scored} <= set(card)
    before = json.loads((ended.parent / "run" / "results.json").read_text())["models"]["planned"]["bits_per_byte"]
    assert not {f"{bits:.4f}" for bits in before} & set(card)


def checkpoint_of(config: Config) -> Path:
    with open_run(config) as job:
        return places(job)["planned"].checkpoint(job)


def test_weights_of_another_run_are_refused_by_name(
    ended: Path, retrained: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(ended.parent / "run", copy)
    config = load(ended, [f"run_dir={copy}"])
    ours = checkpoint_of(config)
    shutil.rmtree(ours)
    shutil.copytree(checkpoint_of(config_of(retrained[1])), ours)
    assert RunFolder(copy).evaluated() is None
    words = [str(ended), f"run_dir={copy}"]
    for command in (["export", *words, "--out", str(tmp_path / "out")], ["generate", str(copy), "red"],
                    ["run", *words], ["report", *words], ["evaluate", *words]):
        assert cli.main(command) == 2, command
        told = capsys.readouterr().err.splitlines()[-1]
        assert "checkpoint.json: changed since stage train wrote it" in told, command
    assert cli.main(["status", str(copy), "--json"]) == 0
    states = json.loads(capsys.readouterr().out)["stages"]
    assert states["prepare"] == states["plan"] == "done"
    assert all("out of date: " in states[stage] for stage in ("train", "evaluate", "report"))


def test_weights_of_another_recipe_are_not_exported_before_the_new_ones_are_there(
    ended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is claimed for another rate and planned; its models are still those of the rate before."""
    copy = tmp_path / "run"
    shutil.copytree(ended.parent / "run", copy)
    words = [str(ended), f"run_dir={copy}", RATE]
    assert cli.main(["plan", *words, "--redo", "sweep"]) == 0
    assert cli.main(["export", *words, "--out", str(tmp_path / "out")]) == 2
    assert "model 'planned' was trained by another config" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main(["status", str(copy), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["phases"].values()) == {"of another config"}


def test_data_prepared_anew_take_the_belief_from_all_that_was_made_of_the_old(ended: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(ended.parent / "run", copy)
    source = tmp_path / "docs.jsonl"
    write_corpus(source, 200)
    shutil.rmtree(copy / "data")  # as the refusal of other settings asks
    words = [str(ended), f"run_dir={copy}", f"data.sources=[{{type: jsonl, path: {source}}}]"]
    assert cli.main(["prepare", *words, "--redo", "prepare"]) == 0
    folder = RunFolder(copy)
    assert [stage for stage in ("prepare", "plan", "train", "evaluate") if folder.belongs(stage)] == ["prepare"]
    with pytest.raises(UserError, match="stage plan has not run"), open_run(config_of(words)) as job:
        places(job)
