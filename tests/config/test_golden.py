"""What every config on file resolves to, and the schema for editors, under review.

After a change that is meant: SPLITJAX_REGENERATE=1 python -m pytest tests/config/test_golden.py, and commit the files.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from splitjax.config import dump, from_dict, load, schema_text

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def compare(path: Path, text: str) -> None:
    if os.environ.get("SPLITJAX_REGENERATE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    kept = path.read_text(encoding="utf-8") if path.exists() else ""
    assert text == kept, "if this is meant: SPLITJAX_REGENERATE=1 python -m pytest tests/config/test_golden.py"


@pytest.fixture(autouse=True)
def _checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape of the checkpoint that configs/continue_hf.yaml starts from, where it looks for it."""
    shape = {"model_type": "llama", "vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2, "intermediate_size": 176}
    (tmp_path / "runs" / "random_1m").mkdir(parents=True)
    (tmp_path / "runs" / "random_1m" / "config.json").write_text(json.dumps(shape))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_resolves_to_what_was_reviewed(path: Path) -> None:
    compare(GOLDEN / path.relative_to(ROOT / "configs"), dump(load(path)))


def test_no_golden_config_is_left_of_one_that_went() -> None:
    kept = {path.relative_to(GOLDEN) for path in GOLDEN.rglob("*.yaml")}
    assert kept == {path.relative_to(ROOT / "configs") for path in CONFIGS}


def test_the_schema_on_file_is_the_schema() -> None:
    compare(ROOT / "configs" / "schema.json", schema_text())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_opens_with_its_command_its_time_and_what_to_expect(path: Path) -> None:
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = "\n".join(head)
    assert any(str(path.relative_to(ROOT)) in line for line in head[:4]), "the command comes first"
    assert re.search(r"\bTime\b", text)
    assert re.search(r"\bExpect\b", text)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_resolved_config_reads_back(path: Path) -> None:
    config = load(path)
    assert from_dict(json.loads(json.dumps(config.resolved()))).resolved() == config.resolved()
