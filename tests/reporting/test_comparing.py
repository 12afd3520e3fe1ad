"""Runs side by side: what differs, and means over seeds with standard errors worked out by hand."""

from __future__ import annotations

import dataclasses
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
    with pytest.raises(UserError, match=r"splitjax compare: one run cannot be compared\. Give two or more\.$"):
        compare([tmp_path])
    with pytest.raises(UserError, match=r"splitjax compare: a run is given twice$"):
        compare([tmp_path, tmp_path / "."])
    with pytest.raises(UserError, match=rf"{tmp_path}/a: no such run\. Give folders that 'splitjax run' made\.$"):
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


@pytest.mark.parametrize(("name", "figures", "told"), [
    ("FLOPs, planned model", (1.23456e14,), "1.23e+14"), ("test loss, dense", (3.14159, 0.01), "3.1416 ± 0.0100"),
    ("planned split (%)", (41.26,), "41.3"), ("experts against 80/20 (%)", (2.34, 0.56, None), "+2.3 ± 0.6"),
    ("experts against one model (%)", (-2.34, None, 0.56), "−2.3 ± 0.6"),
    ("experts against one model (%)", (-2.34, 0.12, 0.56), "−2.3 ± 0.1 ± 0.6"), ("test loss, dense", (None, 1.0), "–"),
])
def test_a_cell_is_a_figure_with_the_errors_that_there_are(
    name: str, figures: tuple[float | None, ...], told: str
) -> None:
    assert comparing._cell(name, *figures) == told


def test_figures_of_a_run_are_those_of_its_results() -> None:
    """18.1 % and 8.1 % below; the best experts are told beside one model, but not beside themselves."""
    plan, results = made_up.plan(), made_up.results()
    results["models"]["dense"]["after_prefix"] = {"routed": {"mean": None}}
    one = Seen("r", {}, plan, results, judge(plan, results))
    assert one.figures == {
        "planned split (%)": 40.0, "experts against one model (%)": pytest.approx(-18.1),
        "experts against 80/20 (%)": pytest.approx(-8.1), "test loss, planned": 4.0, "test loss, dense": None,
        "test loss, dense equal compute": None, "test loss, 80/20": pytest.approx(4.08),
        "FLOPs, planned model": 1e15, "FLOPs, sweep": 1e14}
    assert one.errors == {"experts against one model (%)": 0.5, "experts against 80/20 (%)": 0.5}
    results["gains"]["planned_vs_80/20"] = dict.fromkeys(("routed", "oracle"), made_up.gain(-9.0))
    better = Seen("r", {}, plan, results, judge(plan, results))
    assert better.figures["experts against 80/20 (%)"] is None
    assert [*better.errors] == ["experts against one model (%)"]


def test_runs_of_one_name_are_told_by_their_paths(made: Comparison) -> None:
    both = dataclasses.replace(made, seen=(made.seen[0], dataclasses.replace(made.seen[1], path="other/a")), seeds=())
    assert both.names == ["runs/a", "other/a"]


def test_ranges_are_told_in_per_cent(made: Comparison) -> None:
    (row,) = [row for row in made.sections()[1].rows if row.name == "best split (%)"]
    assert [cell.text for cell in row.cells] == ["30 to 60"] * 4
    assert comparing._span(dataclasses.replace(made.seen[0].verdict, high=None)) == "–"


@pytest.mark.parametrize(("seeds", "fractions", "groups"), [
    ((0, 1, 1), (0.4, 0.4, 0.4), ()),  # one run twice is no repetition
    ((0, 1, 2), (0.4, 0.4004, 0.4006), ((0, 1),)), ((0, 1, 2), (0.4, 0.7, 0.4), ((0, 2),)),
])
def test_repetitions_are_split_at_one_place_with_seeds_of_their_own(
    seeds: tuple[int, ...], fractions: tuple[float, ...], groups: tuple[tuple[int, ...], ...]
) -> None:
    runs = [seen("r", 4.0, seed=seed, **{"law.bootstrap": 7 * seed}) for seed in seeds]
    for run, fraction in zip(runs, fractions, strict=True):
        run.results["models"]["planned"]["fraction"] = fraction
    assert comparing._repetitions(runs) == groups


def test_losses_of_different_text_are_said_to_be_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(comparing, "_seen", lambda path: (seen(path.name, 4.0), path.name))
    (note,) = compare([tmp_path / "a", tmp_path / "b"]).notes
    assert note.startswith("The runs were prepared from different data or tokenizers")
