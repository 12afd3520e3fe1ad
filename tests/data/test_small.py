"""Domains too small for the run are told by prepare: refused, left out or merged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from splitjax import cli
from splitjax.config import Domains, UserError
from splitjax.data import Corpus, Manifest, prepare
from splitjax.data.small import Need, merged

from .conftest import WORDS, rows_of, settings, write_jsonl

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three domains of 60 documents, and two of a dozen or fewer."""
    rows = rows_of(60)
    few = [row | {"domain": "tiny"} for row in rows_of(12, seed=7, labels=("sea",))]
    less = [row | {"domain": "less"} for row in rows_of(10, seed=8, labels=("law",))]
    return write_jsonl(tmp_path_factory.mktemp("small") / "d.jsonl", rows + few + less)


def test_a_window_is_counted_as_streams_count_it() -> None:
    need = Need(seq_len=16, windows=4)
    assert need.small(np.array([[17, 65, 65], [16, 65, 65], [17, 64, 65], [17, 65, 64]])).tolist() == [
        False, True, True, True,
    ]
    assert Need(min_tokens=100).small(np.array([[50, 25, 25], [50, 25, 24], [100, 0, 9]])).tolist() == [
        False, True, True,
    ]
    assert merged(("b", "a", "c"), np.array([True, False, True]))[0] == ("a", "other")
    assert merged(("b", "a", "c"), np.array([True, False, True]))[1].tolist() == [1, 0, 1]


def test_a_corpus_that_cannot_fill_its_windows_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 of 5 domains are too small: 'less' \S+, \S+, \S+; 'tiny' .* \(tokens in"):
        prepare(settings(path, validation=0.3, test=0.3), tmp_path / "out", seed=0, windows=(9, 128))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"5 of 5 domains are too small.*needed: train 513, validation and test 51,201"):
        prepare(settings(path, validation=0.3, test=0.3), tmp_path / "out", seed=0, windows=(100, 512))


@pytest.mark.parametrize("how", ["drop", "merge"])
def test_small_domains_are_left_out_or_merged(how: str, path: Path, tmp_path: Path) -> None:
    changes = {"validation": 0.3, "test": 0.3, "domains": {"small": how, "min_tokens": 2500}}
    manifest = prepare(settings(path, **changes), tmp_path / "out", seed=0)
    whole = prepare(settings(path, validation=0.3, test=0.3, domains={"k": 5}), tmp_path / "all", seed=0)

    def documents(found: Manifest) -> int:
        return sum(sum(found.counts("documents", split)) for split in SPLITS)

    assert set(manifest.small) == {"less", "tiny"}
    assert manifest.domains == tuple(sorted(WORDS)) if how == "drop" else (*sorted([*WORDS, "other"]),)
    assert documents(manifest) == documents(whole) - (22 if how == "drop" else 0)
    corpus, before = Corpus.open(tmp_path / "out"), Corpus.open(tmp_path / "all")
    for domain in WORDS:
        for split in SPLITS:
            assert corpus.show(domain, 99, split) == before.show(domain, 99, split)
    if how == "merge":
        both = {text for name in ("tiny", "less") for split in SPLITS for text in before.show(name, 99, split)}
        assert {text for split in SPLITS for text in corpus.show("other", 99, split)} == both
    what = "left out" if how == "drop" else "merged into 'other'"
    assert f"domains too small, {what}: less ({manifest.small['less']:,} tokens)" in manifest.notes()[-1]
    assert manifest.purity is not None
    assert (manifest.purity == 1) == (how == "drop")


def test_a_corpus_whose_domains_are_all_small_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"5 of 5 domains are too small.*needed: together 10,000,000"):
        prepare(settings(path, domains={"small": "drop", "min_tokens": "10M"}, validation=0.3, test=0.3),
                tmp_path / "out", seed=0)


def test_clusters_are_not_notes() -> None:
    with pytest.raises(ValueError, match="small=drop is for labels"):
        Domains(method="kmeans", k=2, small="drop")


def test_the_command_refuses_at_prepare_and_when_windows_grow(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {
        "run_dir": str(tmp_path / "run"), "budget": {"tokens": "4k"}, "split": 0.5, "sweep": None,
        "train": {"seq_len": 32, "batch_size": 2}, "evaluate": {"prefix": 8, "windows": 2},
        "model": {"d_model": 16, "n_layers": 1, "n_heads": 1},
        "data": {"sources": [{"type": "jsonl", "path": str(path)}], "tokenizer": {"type": "bytes"},
                 "validation": 0.3, "test": 0.3},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(told))
    assert cli.main(["prepare", str(tmp_path / "c.yaml"), "evaluate.windows=90"]) == 2
    assert "domains are too small" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists(), "a refusal leaves nothing"
    assert cli.main(["prepare", str(tmp_path / "c.yaml")]) == 0
    assert cli.main(["prepare", str(tmp_path / "c.yaml"), "evaluate.windows=90", "--redo", "sweep"]) == 2
    assert "domains are too small" in capsys.readouterr().err.splitlines()[-1]
