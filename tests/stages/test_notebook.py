"""Public objects show themselves, and the notebook of the docs runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from matplotlib.figure import Figure

import splitjax
from splitjax.config import Shown, UserError
from splitjax.law import Table
from splitjax.reporting.results_view import Results
from splitjax.reporting.verdict import judge
from tests.reporting import made_up
from tests.tiny import tiny_tree

ROOT = Path(__file__).parents[2]


def results() -> Results:
    plan, told = made_up.plan(), made_up.results(2)
    return Results(told | {"verdict": judge(plan, told).to_json()}, plan)


def table() -> Table:
    rows = [{"n_params": n, "d_pretrain": d, "d_special": s, "loss": 2 + 9 / n**0.3 + 9 / d**0.2 + 9 / s**0.3}
            for n in (1e4, 2e4, 4e4) for d in (1e5, 3e5, 1e6) for s in (1e4, 5e4)]
    return Table.from_rows(rows)


def test_the_package_completes_to_what_is_public() -> None:
    assert dir(splitjax) == sorted(splitjax.__all__)
    assert {"open_run", "generate", "export", "run", "Table"} <= set(dir(splitjax))


@pytest.mark.parametrize("made", [results, table])
def test_objects_are_short_in_a_line_and_a_table_in_a_notebook(made: Any) -> None:
    shown = made()
    assert len(repr(shown)) < 120
    assert repr(shown).startswith(f"<{type(shown).__name__}:")
    html = shown._repr_html_()
    assert html.count("<tr>") == 1 + min(12, len(next(iter(shown._columns().values()))))
    assert isinstance(shown.plot(), Figure)


def test_a_law_and_its_plan_show_themselves() -> None:
    law = splitjax.fit(table(), family="additive", bootstrap=10)
    plan = splitjax.plan(law, n_params=4e4, tokens=1e6, experts=3)
    assert repr(law).startswith("<Law: additive, off by ")
    assert "E + A/N^a + B/D^b + C/D'^c" in law._repr_html_().replace("&#x27;", "'")
    assert repr(plan).startswith("<Plan: ")
    assert "more rows" in plan._repr_html_()
    assert isinstance(plan.plot(), Figure)


def test_names_are_escaped_and_results_stay_a_mapping() -> None:
    class Evil(Shown):
        def _headline(self) -> str:
            return "<script>"

        def _columns(self) -> dict[str, list[Any]]:
            return {"<i>": ["<b>", None]}

    html = Evil()._repr_html_()
    assert not {"<script>", "<i>"} & set(html.split("&"))
    assert "<i>" not in html
    assert "–" in html
    told = results()
    assert told["windows"] == 64
    assert "planned" in told["models"]


def test_frames_where_pandas_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[Any] = []
    stand_in = ModuleType("pandas")
    stand_in.DataFrame = lambda columns: frames.append(columns) or "frame"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", stand_in)
    assert results().to_pandas() == "frame"
    assert frames[0]["model"][:4] == ["seed", "dense", "80/20", "planned"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pandas is not installed"):
        table().to_pandas()


@pytest.mark.slow
def test_the_notebook_of_the_docs_runs(tmp_path: Path, corpus_file: Path) -> None:
    """From a folder like a checkout, on little text."""
    (tmp_path / "configs").mkdir()
    tree = tiny_tree(corpus_file, tmp_path / "unused")
    (tmp_path / "configs" / "demo_quick.yaml").write_text(yaml.safe_dump(tree))
    shutil.copy(ROOT / "docs" / "notebook.py", tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    command = [sys.executable, "notebook.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "plit" in done.stdout.splitlines()[0]
    assert (tmp_path / "runs" / "notebook_experts" / "export.json").exists()
