"""Sizes that no machine has are refused before memory is asked for."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from splitjax import cli
from splitjax.config import Model, Train, UserError, to_yaml
from splitjax.runs.devices import check_memory
from tests.tiny import tiny_tree


def test_a_state_or_a_batch_beyond_all_memory_is_refused() -> None:
    check_memory(Model(), Train(), 300, 8, 1)
    with pytest.raises(UserError, match=r"weights and moments of 3 × [\d,]+ parameters take [\d,]+ GB, there are"):
        check_memory(Model(d_model=1 << 17, n_layers=100, n_heads=2), Train(), 300, 3, 1)
    with pytest.raises(UserError, match=r"a batch of 1 × 10,000,000,000 windows take"):
        check_memory(Model(), Train(batch_size=10**10), 300, 1, 1)


@pytest.mark.parametrize("override", ["model.d_model=1000000000", "model.n_layers=1000000000"])
def test_a_model_that_nobody_has_is_a_line(
    corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_tree(corpus_file, tmp_path / "run")))
    assert cli.main(["run", str(tmp_path / "c.yaml"), override]) == 2
    assert "less than or equal to" in capsys.readouterr().err


def test_a_label_of_two_megabytes_costs_what_it_is_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one array of text, 20,000 rows of it would be 160 GB."""
    lines = [json.dumps({"text": f"word{n} " * 20, "domain": "ab"[n % 2]}) for n in range(2_000)]
    (tmp_path / "d.jsonl").write_text("\n".join([*lines, json.dumps({"text": "x", "domain": "a" * 2_000_000})]))
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_tree(tmp_path / "d.jsonl", tmp_path / "run")))
    began = time.monotonic()
    assert cli.main(["prepare", str(tmp_path / "c.yaml")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("splitjax: ")]
    assert len(said) == 1
    assert f"{tmp_path / 'd.jsonl'}:2001: a label of 2,000,000 characters" in said[0]
    assert len(said[0]) < 300
    assert time.monotonic() - began < 60
