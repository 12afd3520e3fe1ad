"""A small config, and requests for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from splitjax import launching

CONFIG = """\
name: Tiny Run
data:
  sources: [{type: jsonl, path: docs.jsonl}]
budget: {tokens: 10k}
split: 0.5
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "it's tiny.yaml"  # a quote and a space: everything must be quoted
    path.write_text(CONFIG.replace("Tiny Run", "Tiny.Run"), encoding="utf-8")
    return path


@pytest.fixture
def script(config: Path) -> Callable[..., str]:
    def render(on: str, *overrides: str, **options: object) -> str:
        return launching.script_of(str(config), overrides, on=on, **options)  # type: ignore[arg-type]

    return render
