"""Every mistake a user can make is one line that says what, where and the mend; exit code 2; nothing left behind."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from splitjax import cli


def document(domain: str, number: int) -> str:
    words = random.Random(f"{domain} {number}").choices([f"word{n}" for n in range(500)], k=60)
    return json.dumps({"text": " ".join(words), "domain": domain})


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    lines = [document(domain, n) for n in range(40) for domain in ("a", "b")]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "run_dir": str(tmp_path / "run"),
        "data": {
            "sources": [{"type": "jsonl", "path": str(tmp_path / "docs.jsonl")}],
            "tokenizer": {"vocab_size": 300},
            "validation": 0.2,
            "test": 0.2,
        },
        "budget": {"tokens": "10k"},
        "split": 0.5,
        "train": {"seq_len": 32},
        "evaluate": {"windows": 4, "prefix": 8},
    }


def refused(tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    code = cli.main(["run", str(tmp_path / "c.yaml"), *overrides])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("splitjax: ")]
    assert code == 2
    assert len(errors) == 1
    assert not (tmp_path / "run").exists(), "a refusal leaves nothing behind"
    return errors[0]


def test_a_bad_key(tree, tmp_path, capsys) -> None:
    assert "Did you mean 'train'?" in refused(tree, tmp_path, capsys, "trian.batch_size=3")
    assert "unknown key 'train.bath_size'" in refused(tree, tmp_path, capsys, "train.bath_size=3")


def test_a_missing_source_file(tree, tmp_path, capsys) -> None:
    line = refused(tree, tmp_path, capsys, "data.sources.0.path=nowhere/*.jsonl")
    assert "nowhere/*.jsonl" in line


@pytest.mark.parametrize("bad", ["{not json", '{"no_text": 1}', '{"text": 3}', "[]"])
def test_a_malformed_line_is_named(tree, tmp_path, capsys, bad: str) -> None:
    with open(tmp_path / "docs.jsonl", "a", encoding="utf-8") as file:
        file.write(bad + "\n")
    assert f"{tmp_path / 'docs.jsonl'}:81" in refused(tree, tmp_path, capsys)


def test_a_truncated_archive(tree, tmp_path, capsys) -> None:
    whole = gzip.compress((tmp_path / "docs.jsonl").read_bytes())
    (tmp_path / "docs.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    line = refused(tree, tmp_path, capsys, f"data.sources.0.path={tmp_path / 'docs.jsonl.gz'}")
    assert "docs.jsonl.gz" in line


def test_an_empty_domain(tree, tmp_path, capsys) -> None:
    with open(tmp_path / "docs.jsonl", "a", encoding="utf-8") as file:
        file.write(document("lonely", 0) + "\n")  # one document cannot be train, validation and test
    assert "lonely" in refused(tree, tmp_path, capsys)


def test_more_clusters_than_documents(tree, tmp_path, capsys) -> None:
    line = refused(tree, tmp_path, capsys, "data.domains={method: kmeans, k: 5000}")
    assert "5000" in line
    assert "documents" in line


def test_a_run_dir_that_holds_something_else(tree, tmp_path, capsys) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("x")
    assert cli.main(["run", str(tmp_path / "c.yaml")]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert (tmp_path / "run" / "precious.txt").read_text() == "x"


def test_a_mended_config_may_take_the_folder(tree, tmp_path, capsys) -> None:
    """The first, refused try must not bind the folder to its mistake."""
    refused(tree, tmp_path, capsys, "data.sources.0.path=nowhere.jsonl")
    assert cli.main(["prepare", str(tmp_path / "c.yaml"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["domains"]["names"] == ["a", "b"]
    assert {"method", "k", "sizes", "purity"} <= set(told["domains"])


@pytest.mark.parametrize(
    ("stage", "words"), [("sweep", "prepare"), ("plan", "prepare"), ("train", "prepare"), ("report", "evaluate")]
)
def test_a_stage_before_its_time_names_what_is_missing(tree, tmp_path, capsys, stage: str, words: str) -> None:
    tree |= {"sweep": {"models": "0.3M", "d_pretrain": "10k", "d_special": [0, "1k"]}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert cli.main([stage, str(tmp_path / "c.yaml")]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in line
