"""Runs side by side: what differs, and means over seeds with standard errors worked out by hand."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from splitjax import cli
from splitjax.config import UserError
from splitjax.reporting import comparing
from splitjax.reporting.comparing import Comparison, Seen, compare
from splitjax.reporting.sections import Section, line
from splitjax.reporting.sections_text import terminal
from splitjax.reporting.verdict import judge
from splitjax.runs.reporter import Screen

from . import made_up


def seen(name: str, gain: float, **settings: Any) -> Seen:
    plan, results = made_up.plan(), made_up.results()
    results["gains"]["planned_vs_dense"] = dict.fromkeys(("routed", "oracle"), made_up.gain(gain))
    return Seen(f"runs/{name}", {"seed": 0, "budget.tokens": 100, "run_dir": name, **settings}, plan, results,
                judge(plan, results))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Comparison:
    runs = {"a": seen("a", 4.0), "b": seen("b", 6.0, seed=1), "c": seen("c", 8.0, seed=2),
            "d": seen("d", 1.0, **{"budget.tokens": 200})}
    monkeypatch.setattr(comparing, "_seen", lambda path: (runs[path.name], "hash"))
    return compare([tmp_path / name for name in runs])


def test_only_settings_that_differ_are_told(made: Comparison) -> None:
    assert made.differ == {"seed": [0, 1, 2, 0], "budget.tokens": [100, 100, 100, 200]}
    assert made.names == ["a", "b", "c", "d"]


def test_means_over_seeds_have_the_errors_of_seeds(made: Comparison) -> None:
    (group,) = made.over_seeds()
    assert group["runs"] == ["a", "b", "c"]
    mean, error = group["figures"]["experts against one model (%)"]
    assert mean == pytest.approx(-6.0)
    assert error == pytest.approx(2 / 3**0.5), "standard deviation 2 over three seeds"
    assert not [name for name in group["figures"] if "FLOPs" in name]


def test_terminal_page_and_json_say_the_same(
    made: Comparison, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "c.html"
    assert cli.main(["compare", "a", "b", "c", "d", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for words in ("−4.0 ± 0.5", "−1.0 ± 0.5", "Over 3 training seeds", "−6.0 ± 1.2", "budget.tokens"):
        assert words in out
    html = page.read_text(encoding="utf-8")
    assert "−6.0 ± 1.2" in html
    assert "<li><b>runs/d</b>: Split" in html
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(re.findall(r' id="([^"]+)"', html))
    assert cli.main(["compare", "a", "b", "c", "d", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"][3]["figures"]["experts against one model (%)"] == -1.0
    assert repr(made) == "<Comparison: 4 runs, 2 settings differ>"


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one run cannot be compared"):
        compare([tmp_path])
    with pytest.raises(UserError, match="given twice"):
        compare([tmp_path, tmp_path / "."])
    with pytest.raises(UserError, match="no such run"):
        compare([tmp_path / "a", tmp_path / "b"])


def test_a_repetition_without_a_sweep_is_one_of_the_same_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the verdict says to repeat has `split=` and `sweep=null`: split at the same place it is the same run."""
    runs = {"a": seen("a", 4.0, **{"split": None, "sweep.auto.share": 3.0}), "b": seen("b", 6.0, seed=1, split=0.4),
            "c": seen("c", 6.0, seed=2, split=0.7)}
    runs["c"].results["models"]["planned"]["fraction"] = 0.7
    monkeypatch.setattr(comparing, "_seen", lambda path: (runs[path.name], "hash"))
    (group,) = compare([tmp_path / name for name in runs]).over_seeds()
    assert group["runs"] == ["a", "b"]


def test_brackets_in_names_are_told_as_they_are() -> None:
    told = Section("t[a]", ("x[b]", "y"), (line("run[c]", ["[d]"]),))
    console = Screen(file=io.StringIO(), width=80)
    console.print(terminal(told))
    shown = console.file.getvalue()
    assert "\\" not in shown
    for words in ("t[a]", "x[b]", "run[c]", "[d]"):
        assert words in shown
