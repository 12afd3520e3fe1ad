#!/usr/bin/env python3
"""Everything that is checked of this project, one after the other, with a table at the end: `tools/test --all`.

Takes hours. What fails stops nothing; exits with 1 where something did. The mistakes of the mutation sample are those
of this week: another week draws others.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = 200
REPORT = "{report}"
"""Stands in a step's words for the file of its report."""


@dataclass(frozen=True)
class Step:
    """One thing to run.

    Attributes:
        words: the command, after the Python; REPORT in it stands for a file.
        counted: the file of its report and what it printed → what was counted, in words.
    """

    name: str
    words: tuple[str, ...]
    counted: Callable[[Path, str], str] = lambda report, out: ""


@dataclass(frozen=True)
class Done:
    """What came of a step."""

    name: str
    counted: str
    code: int
    seconds: float


def tests(report: Path, out: str) -> str:
    """Of pytest's report."""
    suites = ET.parse(report).getroot().iter("testsuite")
    count = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for key in count:
            count[key] += int(suite.get(key, 0))
    wrong = count["failures"] + count["errors"]
    return f"{count['tests']} tests, {wrong} failed, {count['skipped']} skipped"


def mistakes(report: Path, out: str) -> str:
    """Of tools/mutate.py."""
    told = json.loads(report.read_text(encoding="utf-8"))
    caught = sum(each["caught"] for each in told["mistakes"])
    return f"{caught} of {len(told['mistakes'])} mistakes caught, seed {told['seed']}"


def faults(report: Path, out: str) -> str:
    """Of tools/chaos.py."""
    told = json.loads(out[f"\n{out}".rindex("\n{\n") :])
    skipped = [name for name, each in told.items() if "skipped" in each]
    lost = sum(len(each["differences"]) for each in told.values())
    left = f", {', '.join(skipped)} skipped" if skipped else ""
    return f"{len(told) - len(skipped)} kinds of faults, {lost} differences{left}"


def steps() -> list[Step]:
    """All of them, the quickest first."""
    cores = os.cpu_count() or 1
    pytest = ("-m", "pytest", f"--junitxml={REPORT}", "-n", "auto", "--maxprocesses", "4", "--dist", "loadfile",
              "--no-loadscope-reorder")
    week = datetime.date.today().isocalendar()
    seed = f"{week.year}{week.week:02}"
    return [
        Step("ruff", ("-m", "ruff", "check", "--quiet", ".")), Step("mypy", ("-m", "mypy")),
        Step("default tests", pytest, tests), Step("fuzz", (*pytest, "-m", "slow", "tests/fuzz"), tests),
        Step("slow tests", (*pytest, "-m", "slow", "--ignore=tests/fuzz"), tests),
        Step("mutation", ("tools/mutate.py", "--sample", str(SAMPLE), "--seed", seed, "--jobs", str(min(cores, 4)),
                          "--out", REPORT), mistakes),
        Step("chaos", ("tools/chaos.py", "all"), faults),
    ]


def run(step: Step, folder: Path) -> Done:
    """One step; what it prints is shown as it comes."""
    print(f"== {step.name}", flush=True)
    began, report, lines = time.monotonic(), folder / step.name.replace(" ", "-"), []
    words = [word.replace(REPORT, str(report)) for word in step.words]
    with subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    try:
        counted = step.counted(report, "".join(lines))
    except (OSError, ValueError, KeyError, ET.ParseError):
        counted = "ended without a report"
    return Done(step.name, counted, process.returncode, time.monotonic() - began)


def table(done: Sequence[Done]) -> str:
    """What, count, result, time."""
    wide = max(len(each.counted) for each in done)
    lines = [f"{'what':<15}{'count':<{wide + 2}}{'result':<9}{'min':>6}"]
    for each in done:
        result = "failed" if each.code else "passed"
        lines.append(f"{each.name:<15}{each.counted:<{wide + 2}}{result:<9}{each.seconds / 60:>6.1f}")
    return "\n".join(lines)


def main() -> int:
    done: list[Done] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for step in steps():
                done.append(run(step, Path(folder)))
    except KeyboardInterrupt:
        return 130
    finally:
        if done:
            print(f"\n{table(done)}")
    return 1 if any(each.code for each in done) else 0


if __name__ == "__main__":
    sys.exit(main())
