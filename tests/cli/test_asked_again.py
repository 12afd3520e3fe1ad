"""A run that is done prints its answer again, and its law answers other questions without its files being touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from splitjax import cli
from splitjax.config import hash_file
from tests.tiny import tiny_tree
from tests.whole_run import copied


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, whole_run: Path) -> Path:
    """The folder of a run that is fitted and planned, by commands of their own."""
    config = str(copied(whole_run, tmp_path_factory.mktemp("asked")))
    for words in (["prepare", config], ["sweep", config], ["fit", config, "--redo", "fit"], ["plan", config]):
        assert cli.main(words) == 0
    return Path(config).parent / "run"


def files(folder: Path) -> dict[str, str]:
    return {str(path): hash_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_fit_and_plan_print_their_answer_again(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", str(planned)]) == 0
    told = capsys.readouterr().out
    assert "held-out mre" in told
    assert "rows, objective" in told
    assert cli.main(["plan", str(planned)]) == 0
    told = capsys.readouterr().out
    plan = json.loads((planned / "plan.json").read_text())
    assert f"Predicted loss {plan['predicted_loss']:.4f}" in told
    assert "80/20" in told


def test_questions_touch_nothing(planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(planned)
    plan = json.loads((planned / "plan.json").read_text())
    for command in ("plan", "run"):
        words = [command, str(planned), "--tokens", "12k", "--next-run", "1e12", "--plot", str(tmp_path / "p.svg")]
        assert cli.main([*words, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["tokens"] == 12000 != plan["tokens"]
        assert (told["n_params"], told["experts"]) == (plan["n_params"], plan["experts"])
        assert told["next_run"]["flops"] <= 1e12
        assert (tmp_path / "p.svg").read_text().startswith("<?xml")
    assert cli.main(["plan", str(planned), "--accounting", "per_model", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["accounting"], told["tokens"]) == ("per_model", plan["tokens"])
    assert cli.main(["fit", str(planned), "--plot", str(tmp_path / "law.png")]) == 0
    assert (tmp_path / "law.png").stat().st_size > 1000
    capsys.readouterr()
    assert files(planned) == before


def test_the_same_question_as_the_config_gives_the_same_plan(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads((planned / "plan.json").read_text())
    assert cli.main(["plan", str(planned), "--tokens", str(plan["tokens"]), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for key in ("split_fraction", "predicted_loss", "interval", "baselines"):
        assert told[key] == plan[key]


def test_a_run_without_a_law_has_none_to_ask(tmp_path: Path, corpus_file: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    tree = tiny_tree(corpus_file, tmp_path / "run")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    assert cli.main(["plan", str(tmp_path / "c.yaml"), "--tokens", "12k"]) == 2
    assert "no such run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert cli.main(["run", str(tmp_path / "c.yaml"), "--plot", "x.png", "--redo", "fit"]) == 2
    assert "--redo" in capsys.readouterr().err
