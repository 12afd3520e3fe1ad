"""Mutation testing itself: mistakes are found, made in a copy, seen by the nearest tests, and told apart."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from mutation.mutants import changed, mutants, sample  # noqa: E402
from mutation.sight import Sight  # noqa: E402
from mutation.trial import Baseline, Copy  # noqa: E402

import tools.mutate as mutate  # noqa: E402

SUMS = '''\
"""What is planted."""


def share(part: int | None, whole: float, *, least: float = 0.0) -> float:
    assert whole > 0
    return round(max(part / whole, least), 3)
'''
DAYS = '"""Planted too."""\n\n\ndef late(day: int) -> bool:\n    return day > 5\n'
TEST = '''\
from splitjax.room import late, share


def test_share() -> None:
    assert share(1, 4) == 0.25
    assert share(1, 4, least=0.5) == 0.5


def test_late() -> None:
    assert late(9)
    assert not late(5)


def test_that_fails_all_the_same() -> None:
    assert share(1, 4) == 7
'''


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A package of one room, a test that sees it through the room's own imports, and one that does not."""
    files = {
        "splitjax/__init__.py": "", "splitjax/room/sums.py": SUMS, "splitjax/room/days.py": DAYS,
        "splitjax/room/__init__.py": "from .days import late\nfrom .sums import share\n",
        "tests/room/test_sums.py": TEST,
        "tests/test_other.py": "def test_other() -> None:\n    pass\n", "pyproject.toml": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_mistakes_are_made_in_what_is_carried_out(planted: Path) -> None:
    drawn, every = sample(planted, ["splitjax/room/sums.py"], None, 0)
    told = {changed(SUMS, source) for _, source in drawn}
    assert every == len(mutants(planted, "splitjax/room/sums.py")) >= len(drawn)
    assert {new for old, new in told if "return" in old} == {
        "return round( 3,max(part / whole, least))", "return round(max(part, least), 3)",
        "return round(max(part * whole, least), 3)", "return round(min(part / whole, least), 3)",
        "return round(max(part / whole, least), 4)", "return round(max(part / whole, least), 2)",
    }, "max does not care what comes first"
    assert not [line for line, _ in told if "assert" in line]
    assert {mutant.line for mutant, _ in drawn} == {4, 6}
    assert {new for old, new in told if "def" in old} == {
        "def share(part: int | None, whole: float, *, least: float = 1.0) -> float:",
        "def share(part: int | None, whole: float, *, least: float = -1.0) -> float:",
    }


def test_a_seed_draws_the_same_and_another_seed_others(planted: Path) -> None:
    draws = [[mutant for mutant, _ in sample(planted, ["splitjax/room/sums.py"], 4, seed)[0]] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(draws[0]) == 4


def test_tests_are_chosen_by_import(planted: Path) -> None:
    assert Sight(planted).of("splitjax/room/sums.py") == [(1, "tests/room/test_sums.py")]
    sight = Sight(ROOT)
    seen = dict(map(reversed, sight.of("splitjax/law/fitting/bootstrap.py")))  # type: ignore[arg-type]
    assert seen["tests/law/test_bootstrap.py"] == 1
    assert seen["tests/law/test_fit.py"] == 1
    assert seen["tests/law/test_correction.py"] == 3, "by fit, which has it of the candidates"
    assert "tests/test_house.py" not in seen
    assert (2, "tests/cli/test_main.py") in sight.of("splitjax/cli/compare.py"), "imported by its name at run time"
    assert (3, "tests/law/test_command.py") in sight.of("splitjax/cli/compare.py"), "of another room"


def test_a_planted_survivor_is_told_and_a_planted_catch_is_not(
    planted: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in planted.rglob("*.py")}
    words = ["room/days.py", "--root", str(planted), "--jobs", "2", "--out", str(tmp_path / "told.json")]
    assert mutate.main([*words, "--at-least", "0.8"]) == 1
    told = json.loads((tmp_path / "told.json").read_text())
    assert {each["after"]: each["how"] for each in told["mistakes"]} == {
        "return day > 6": "survived", "return day > 4": "failed", "return day >= 5": "failed",
        "return day < 5": "failed",
    }
    assert told["share"] == 0.75
    assert told["failing"] == ["tests/room/test_sums.py::test_that_fails_all_the_same"]
    shown = capsys.readouterr().out
    place = "splitjax/room/days.py:5 survived 1 test files (NumberReplacer)"
    assert f"{place}\n  - return day > 5\n  + return day > 6" in shown
    assert before == {path: path.read_bytes() for path in before}, "mistakes are made in copies"


def test_of_tests_as_near_the_quickest_are_asked_first(planted: Path) -> None:
    known = {"a": 50.0, "b": 3.0, "c": -1.0, "d": 20.0, "e": 90.0}
    baseline = Baseline(Copy(planted), known)
    seen = [(1, "a"), (1, "b"), (1, "c"), (2, "d"), (2, "e")]
    assert baseline.chosen(seen, 100.0) == ["b", "a", "d"], "c has no test to run, e would take too long"
    assert baseline.chosen(seen, 60.0) == ["b", "a"]
    assert baseline.chosen(seen[:1], 1.0) == ["a"], "one at least"
    assert baseline.chosen([(1, "a"), (1, "untimed")], 25.0) == ["a"], "twice the limit was timed"
    assert baseline.given(["b", "a"]) == 30 + 3 * 53


def test_what_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutate.main(["rooom"]) == 2
    assert capsys.readouterr().err == "mutate: no room, folder or file 'rooom'\n"


@pytest.mark.slow
def test_a_test_that_never_ends_is_ended_with_all_that_it_started(
    planted: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (planted / "tests/room/test_sums.py").write_text(
        "import os, pathlib, time\n\ndef test_it() -> None:\n"
        "    pathlib.Path('pid').write_text(str(os.getpid()))\n    time.sleep(60)\n"
    )
    copy = Copy.of(planted, tmp_path_factory.mktemp("mutate") / "copy")
    told = copy.tried("splitjax/room/sums.py", SUMS, ["tests/room/test_sums.py"], [], 10.0)
    assert told.code is None
    with pytest.raises(ProcessLookupError):
        os.kill(int((copy.root / "pid").read_text()), 0)
