"""Tests against a mutant, in a copy of the tree: which are run, for how long, and whether one of them fails."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

LEFT_OUT = {".git", ".venv", "__pycache__", "runs"}
TESTED, FAILED, NONE = (0,), (1, 2, 3), (5,)
"""What pytest ends with where all passed; where a test, an import or pytest itself failed; where there was no test."""
_MEASURED = 2.0
"""Test files that are as near as each other are timed until they took so many times what a mutant's tests may take."""
_FEWEST, _TIMES = 30.0, 3.0
"""Seconds that a mutant is given beside so many times what its tests take."""


@dataclass(frozen=True)
class Told:
    """What tests said: pytest's exit code, None after the time was up; its last lines; how long it took."""

    code: int | None
    text: str
    seconds: float


@dataclass
class Copy:
    """A copy of the tree in which one process at a time makes mistakes."""

    root: Path
    turn: int = 0
    process: subprocess.Popen[bytes] | None = None
    """What runs in it."""

    @staticmethod
    def of(root: Path, place: Path) -> Copy:
        """What git lists, with what is not committed; of a folder without git all files."""
        listed = subprocess.run(["git", "ls-files", "-zco", "--exclude-standard"], cwd=root, capture_output=True)
        if listed.returncode or not listed.stdout:
            shutil.copytree(root, place, ignore=lambda _, names: LEFT_OUT.intersection(names))
            return Copy(place)
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (root / name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, place / name)
        return Copy(place)

    def tried(self, path: str, source: str, tests: Sequence[str], but: Sequence[str], limit: float) -> Told:
        """Tests with a file's source exchanged."""
        file, self.turn = self.root / path, self.turn + 1
        before = file.read_bytes()
        try:
            file.write_text(source, encoding="utf-8")
            # Python trusts what it compiled of a file of the same size and second: no two mutants have the same second.
            os.utime(file, (self.turn, self.turn))
            return self.tested(["-x", *(f"--deselect={name}" for name in but), *tests], limit)
        finally:
            file.write_bytes(before)

    def tested(self, words: Sequence[str], limit: float) -> Told:
        """pytest in a process group of its own, which is killed when the time is up."""
        began = time.monotonic()
        given = os.environ | {"PYTHONPATH": str(self.root), "PYTHONHASHSEED": "0"}
        # Of all mutants but a few, programs compile to what others have compiled before.
        given.setdefault("JAX_COMPILATION_CACHE_DIR", str(self.root.parent / "programs"))
        with (self.root.parent / f"{self.root.name}.out").open("w+b") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *words],
                cwd=self.root, env=given, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )
            try:
                code = self.process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                self.end()
            out.seek(0)
            text = out.read().decode(errors="replace")
        return Told(code, text[-4000:], time.monotonic() - began)

    def end(self) -> None:
        """End what runs in it, with all that it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Baseline:
    """What test files do where nothing is wrong, each run once.

    Attributes:
        seconds: of each file.
        failing: tests that fail all the same, and so say nothing.
    """

    copy: Copy
    seconds: dict[str, float] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)

    def chosen(self, seen: Sequence[tuple[int, str]], limit: float) -> list[str]:
        """The nearest tests, of those as near the quickest, until they take so many seconds together; at least one."""
        chosen, left = list[str](), limit
        for _, alike in groupby(seen, key=lambda each: each[0]):
            for seconds, name in sorted(self._measured([name for _, name in alike], _MEASURED * limit)):
                if seconds > left and chosen:
                    return chosen
                if seconds >= 0:
                    chosen.append(name)
                    left -= seconds
        return chosen

    def _measured(self, names: Sequence[str], most: float) -> Iterator[tuple[float, str]]:
        """Seconds of test files, until these have taken so many together."""
        for name in names:
            if most <= 0:
                return
            seconds = self._of(name)
            most -= max(seconds, 0.0)
            yield seconds, name

    def given(self, tests: Sequence[str]) -> float:
        """Seconds that a mutant may take: one that takes longer has been noticed."""
        return _FEWEST + _TIMES * sum(self.seconds[name] for name in tests)

    def _of(self, name: str) -> float:
        """Seconds of a file; negative where it has no test to run."""
        if name not in self.seconds:
            report = self.copy.root.parent / "report.xml"
            report.unlink(missing_ok=True)
            told = self.copy.tested([f"--junitxml={report}", "-o", "junit_family=xunit1", name], 3600)
            if told.code not in (*TESTED, 1, *NONE):
                raise RuntimeError(f"{name} cannot be run where nothing is wrong:\n{told.text}")
            self.seconds[name] = told.seconds if told.code not in NONE else -1.0
            self.failing += _failing(report)
        return self.seconds[name]


def _failing(report: Path) -> list[str]:
    """Names of the tests that failed, as --deselect wants them."""
    return [
        f"{case.get('file')}::{case.get('name')}" for case in ET.parse(report).iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]

