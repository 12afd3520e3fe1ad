"""The weekly command: each step is run whatever came of the ones before it, and counted in one table."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import tools.all_checks as all_checks
from tools.all_checks import Step

ROOT = Path(__file__).resolve().parents[1]
JUNIT = ('<testsuites><testsuite tests="5" failures="1" errors="1" skipped="2"/><testsuite tests="4" skipped="1"/>'
         "</testsuites>")
MUTATED = json.dumps({"seed": 7, "mistakes": [{"caught": True}, {"caught": False}, {"caught": True}]})
FAULTS = {"kills": {"kills": 4, "differences": []}, "flips": {"differences": ["a", "b"]},
          "disk": {"skipped": "no root", "differences": []}}


def written(text: str, code: int = 0) -> tuple[str, ...]:
    """A command that writes its report and ends so."""
    return "-c", f"import sys; open(sys.argv[1], 'w').write({text!r}); sys.exit({code})", all_checks.REPORT


def test_every_step_is_run_and_counted(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    fake = [
        Step("slow tests", written(JUNIT, 1), all_checks.tests),
        Step("mutation", written(MUTATED), all_checks.mistakes),
        Step("chaos", ("-c", f"print('working'); print({json.dumps(FAULTS, indent=1)!r})"), all_checks.faults),
        Step("fuzz", ("-c", "import sys; sys.exit(3)"), all_checks.tests), Step("mypy", ("-c", "print('fine')")),
    ]
    monkeypatch.setattr(all_checks, "steps", lambda: fake)
    assert all_checks.main() == 1
    shown = capfd.readouterr().out
    assert "fine\n" in shown, "as it comes"
    lines = [" ".join(line.split()).rsplit(" ", 1)[0] for line in shown[shown.index("what  ") :].splitlines()]
    assert lines == [
        "what count result", "slow tests 9 tests, 2 failed, 3 skipped failed",
        "mutation 2 of 3 mistakes caught, seed 7 passed",
        "chaos 2 kinds of faults, 2 differences, disk skipped passed", "fuzz ended without a report failed",
        "mypy passed",
    ]
    monkeypatch.setattr(all_checks, "steps", lambda: fake[1:2])
    assert all_checks.main() == 0


def test_the_steps_are_all_there_is() -> None:
    told = {step.name: step.words for step in all_checks.steps()}
    assert list(told) == ["ruff", "mypy", "default tests", "fuzz", "slow tests", "mutation", "chaos"]
    assert told["fuzz"][-3:] == ("-m", "slow", "tests/fuzz")
    assert told["slow tests"][-3:] == ("-m", "slow", "--ignore=tests/fuzz")
    assert "slow" not in told["default tests"]
    assert told["mutation"][:3] == ("tools/mutate.py", "--sample", "200")
    assert told["chaos"] == ("tools/chaos.py", "all")


def test_it_takes_no_arguments() -> None:
    done = subprocess.run([ROOT / "tools" / "test", "--all", "tests/law"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "tools/test: --all takes no arguments\n"
