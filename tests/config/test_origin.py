"""Every value says where it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitjax import cli
from splitjax.config import Config, load, origins

TEXT = """\
data:
  sources: [{type: installed_python}]
model: 0.3M
train:
  batch_size: 4
budget: {tokens: 20x}
sweep:
  models: 1M
  tokens: 10x
  split:
    - 0.5
    - 1
  list:
    - {models: {preset: 0.3M, d_ff: 64}, d_pretrain: 1M, d_special: 0}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text(TEXT)
    return tmp_path / "c.yaml"


def test_origins_name_line_override_preset_and_default(path: Path) -> None:
    overrides = ["train.clip=2.0", "evaluate={windows: 8}", "evaluate.prefix=3"]
    found = {value.key: (value.value, value.origin) for value in origins(path, overrides)}
    where = str(path)
    assert found["train.batch_size"] == (4, f"{where}:5")
    assert found["budget.tokens"] == ("20x", f"{where}:6")
    assert found["train.seq_len"] == (256, "default")
    assert found["train.clip"] == (2.0, "override train.clip=2.0")
    assert found["evaluate.windows"] == (8, "override evaluate={windows: 8}")
    assert found["evaluate.prefix"] == (3, "override evaluate.prefix=3")
    assert found["evaluate.compare"] == ([], "default")
    assert found["model.d_model"] == (64, f"preset 0.3M ({where}:3)")
    assert found["model.qk_norm"] == (True, "default")
    assert found["sweep.models.0.d_ff"] == (352, f"preset 1M ({where}:8)")
    assert found["sweep.tokens"] == (["10x"], f"{where}:9")
    assert found["sweep.list.0.models.0.d_ff"] == (64, f"{where}:14")
    assert found["sweep.list.0.models.0.d_model"] == (64, f"preset 0.3M ({where}:14)")
    assert found["run_dir"] == ("runs/run", "default")


def test_origins_are_the_whole_resolved_config(path: Path) -> None:
    tree: dict = {}
    for value in origins(path):
        node = tree
        *parents, last = value.key.split(".")
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value.value

    def lists(node: object) -> object:
        if not isinstance(node, dict):
            return node
        values = [lists(item) for item in node.values()]
        return values if node and all(key.isdigit() for key in node) else dict(zip(node, values, strict=True))

    assert Config.model_validate(lists(tree)).resolved() == load(path).resolved()


def test_the_command_prints_each_value_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", str(path), "seed=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("seed: 3 ") and line.endswith("# override seed=3") for line in lines)
    assert cli.main(["config", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"key", "value", "origin"} == set(told[0])
    assert len(told) == len(lines)


def test_the_schema_is_printed_and_refuses_company(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "splitjax config"
    assert cli.main(["config", str(path), "--schema"]) == 2
    assert cli.main(["config"]) == 2
    assert cli.main(["config", str(path), "train.bach_size=3"]) == 2
