"""Routers and zero-shot tasks in a run: measured, chosen on validation, saved, shown."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from splitjax import cli, stages
from splitjax.config import UserError, from_dict, read_json
from splitjax.data import Corpus
from splitjax.evaluate import SavedRouter
from splitjax.reporting import closing_table, router_table, task_table

ROUTERS = ("prefix", "centroid", "bayes", "top2_posterior", "average")


def tree(folder: Path, corpus_file: Path) -> dict[str, Any]:
    return {
        "name": "routed",
        "run_dir": str(folder / "run"),
        "data": {
            "sources": [{"type": "jsonl", "path": str(corpus_file)}],
            "tokenizer": {"vocab_size": 300}, "validation": 0.15, "test": 0.15,
        },
        "model": {"d_model": 24, "n_layers": 1, "n_heads": 2},
        "train": {"seq_len": 32, "batch_size": 4, "warmup": 512, "base_width": 16},
        "budget": {"tokens": "12k"},
        "split": 0.4,
        "evaluate": {
            "windows": 8, "prefix": 8, "routers": list(ROUTERS), "tasks": [str(folder / "tasks" / "*.jsonl")],
        },
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("routing")
    (folder / "tasks").mkdir()
    items = [{"query": "red green", "choices": ["blue", "17 plus", "north"], "gold": 0}] * 3
    (folder / "tasks" / "colour.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    items = [{"context": "10 plus", "continuation": "20"}]
    (folder / "tasks" / "word.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    stages.run(from_dict(tree(folder, corpus_file)))
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    return read_json(folder / "run" / "results.json")


def row(results: dict[str, Any], router: str, model: str = "planned") -> dict[str, Any]:
    return next(row for row in results["routing"][model]["rows"] if row["router"] == router)


def test_every_router_asked_for_has_a_row_for_every_set_of_experts(results) -> None:
    assert set(results["routing"]) == {"planned", "80/20"}
    for table in results["routing"].values():
        assert [each["router"] for each in table["rows"]] == ["label", *ROUTERS]
        assert table["experts"] == 3
    for name in ("prefix", "centroid", "bayes"):
        assert len(row(results, name)["accuracy"]) == 3
    assert row(results, "average")["accuracy"] is None
    assert [row(results, name)["experts_a_token"] for name in ("prefix", "top2_posterior", "bayes")] == [1, 2, 3]


def test_three_made_up_languages_are_told_apart(results) -> None:
    """Their words are disjoint, so the centroid knows them, and then the label adds nothing."""
    assert min(row(results, "centroid")["accuracy"]) > 0.8
    assert row(results, "centroid")["test"] == pytest.approx(row(results, "label")["test"], rel=0.01)


def test_the_label_and_the_routed_losses_are_those_of_the_main_table(results) -> None:
    after = results["models"]["planned"]["after_prefix"]
    assert row(results, "label")["test"] == pytest.approx(after["oracle"]["mean"])
    chosen = results["routing"]["planned"]["chosen"]
    assert after["router"] == chosen
    assert row(results, chosen)["test"] == pytest.approx(after["routed"]["mean"])
    assert row(results, chosen)["accuracy"] == after["routing_accuracy"]
    assert row(results, chosen)["experts_a_token"] == 1
    assert results["models"]["dense"]["after_prefix"]["router"] is None


def test_the_router_of_the_verdict_is_saved_beside_the_results(folder, results) -> None:
    saved = SavedRouter.load(folder / "run" / "router")
    corpus = Corpus.open(folder / "run" / "data")
    assert saved.router.name == results["routing"]["planned"]["chosen"]
    assert saved.experts == corpus.domains
    assert (saved.prefix, saved.tokenizer) == (8, corpus.tokenizer.hash)
    assert saved.evidence["validation"][saved.router.name] == row(results, saved.router.name)["validation"]
    record = read_json(folder / "run" / "done" / "evaluate.json")["outputs"]
    assert "router/router.json" in record
    habit = SavedRouter.load(folder / "run" / "router" / results["models"]["80/20"]["cell"])
    assert habit.router.name == results["routing"]["80/20"]["chosen"]


def test_tables_show_routers_and_tasks(folder, results) -> None:
    page = (folder / "run" / "report.html").read_text()
    for words in ("<h2>Routers</h2>", "nearest centroid", "weights averaged", "colour / byte", "<td>word</td>"):
        assert words in page
    console = Console(width=80, file=io.StringIO())
    console.print(closing_table(results))
    text = console.file.getvalue()
    assert "top2_posterior" in text
    assert "…" not in text.split("Routers of planned")[1].split("Zero-shot")[0]
    chosen = [name for bold, (name, *_) in router_table.rows(results, "planned") if bold]
    assert chosen == [router_table.name_of(results["routing"]["planned"]["chosen"])]
    assert [cells[0] for cells in task_table.rows(results, ["dense"])] == ["colour", "colour / byte", "word"]


def test_tasks_are_answered_by_every_model(results) -> None:
    told = results["zero_shot"]
    assert told["tasks"] == {"colour": {"form": "choice", "items": 3}, "word": {"form": "last_word", "items": 1}}
    assert set(told["models"]) == set(results["models"])
    assert sum(told["models"]["planned"]["colour"]["answered"].values()) == 3
    assert set(told["models"]["planned"]["colour"]["answered"]) == set(results["domains"])
    assert len(set(told["commonsense_missing"])) == 8
    assert told["commonsense_average"]["planned"] is None


def test_gains_are_those_of_the_routed_windows(results) -> None:
    models = results["models"]
    dense, planned = (models[name]["after_prefix"]["routed"]["mean"] for name in ("dense", "planned"))
    assert results["gains"]["planned_vs_dense"]["routed"]["nats"] == pytest.approx(dense - planned)


def test_another_list_of_routers_is_another_evaluation(folder, corpus_file) -> None:
    config = tree(folder, corpus_file)
    config["evaluate"] |= {"routers": ["bayes"], "tasks": []}
    with pytest.raises(UserError, match=r"evaluate\.routers .*--redo evaluate"):
        stages.evaluate(from_dict(config))
    before = (folder / "run" / "results.json").read_bytes()
    found = stages.evaluate(from_dict(config), redo="evaluate")
    assert found["routing"]["planned"]["chosen"] == "bayes"
    assert [each["router"] for each in found["routing"]["planned"]["rows"]] == ["label", "bayes"]
    assert found["zero_shot"] == {}
    assert SavedRouter.load(folder / "run" / "router").router.name == "bayes"
    stages.evaluate(from_dict(tree(folder, corpus_file)), redo="evaluate")
    again, told = read_json(folder / "run" / "results.json"), json.loads(before)
    assert again["routing"] == told["routing"]


def test_changed_items_are_answered_anew(folder, corpus_file) -> None:
    config = from_dict(tree(folder, corpus_file))
    first = stages.evaluate(config)
    path = folder / "tasks" / "word.jsonl"
    kept = path.read_text()
    path.write_text(kept * 2)
    try:
        assert stages.evaluate(config)["zero_shot"]["tasks"]["word"]["items"] == 2
    finally:
        path.write_text(kept)
    assert stages.evaluate(config)["zero_shot"] == first["zero_shot"]


def lm_eval_task(folder: Path) -> Path:
    told = {
        "task": "colour", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice",
        "dataset_kwargs": {"data_files": {"test": str(folder / "tasks" / "colour.jsonl")}}, "doc_to_text": "query",
        "doc_to_choice": "choices", "doc_to_target": "gold", "metric_list": [{"metric": "acc"}],
    }
    (folder / "colour.yaml").write_text(yaml.safe_dump(told))
    return folder / "colour.yaml"


def test_lm_eval_says_what_our_own_tasks_say(folder, results, capsys, monkeypatch) -> None:
    pytest.importorskip("lm_eval", reason="the extra 'eval' is not installed")
    monkeypatch.setenv("HF_HOME", str(folder / "cache"))
    path = str(lm_eval_task(folder))
    assert cli.main(["evaluate", str(folder / "run"), "--tasks", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"seed", "dense", "80/20", "planned"}
    for name, told in found.items():
        assert told["colour"]["acc"] == results["zero_shot"]["models"][name]["colour"]["accuracy"]
        assert told["colour"]["sample_len"] == 3
    assert cli.main(["evaluate", str(folder / "run"), "--tasks", path, "--limit", "2"]) == 0
    assert "colour acc" in capsys.readouterr().out
    assert cli.main(["export", str(folder / "run"), "--out", str(folder / "set")]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder / "set"), "--tasks", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["set"]["colour"] == found["planned"]["colour"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limit", "3"], "--limit needs --tasks"),
        (["--tasks", "x", "--redo", "evaluate"], "--redo is for a run's own evaluation"),
        (["--tasks", ","], "names no task"),
        (["--tasks", "x", "--limit", "0"], "0 items"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words, folder, capsys) -> None:
    assert cli.main(["evaluate", str(folder / "run"), *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"routers": ["prefiks"]}, "no router 'prefiks'"),
        ({"tasks": ["nowhere/*.jsonl"]}, "no file matches"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(changes, words, tmp_path, corpus_file) -> None:
    config = copy.deepcopy(tree(tmp_path, corpus_file))
    config["evaluate"] |= {"tasks": []} | changes
    with pytest.raises(UserError, match=words):
        stages.run(from_dict(config))
    assert not (tmp_path / "run").exists()
