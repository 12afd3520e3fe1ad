"""Phases shared out to workers: who begins what and when, what each message does, and who takes a dead one's place."""

from __future__ import annotations

import queue
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from splitjax.config import Model
from splitjax.runs.phase_tree import Cell, grow
from splitjax.runs.reporter import Reporter
from splitjax.runs.telling.time_left import Load
from splitjax.runs.workers import pool
from splitjax.runs.workers.attempts import Ledger, SweepError

SMALL, LARGE = Model(d_model=16, n_heads=2), Model(d_model=24, n_heads=2)
PHASES = grow([Cell(SMALL, 50, 0), Cell(SMALL, 50, 10), Cell(LARGE, 30, 5)], 0.2)


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self.heard.append((name, *values))


class Fake:
    """A worker that answers at once: its phase ends, or as `dies` says its process does, once a phase."""

    made = 0

    def __init__(self, job: Any, jobs: int, inbox: queue.Queue[Any]) -> None:
        Fake.made += 1
        self.number, self.job, self.inbox, self.phase, self.closed = Fake.made, job, inbox, None, 0
        self.process = SimpleNamespace(returncode=-signal.SIGKILL)

    def begin(self, phase: Any) -> None:
        self.phase = phase
        self.job.begun.append((phase.name, sorted(self.job.at_once)))
        self.job.at_once.add(phase.name)
        if phase.name in self.job.dies:
            self.job.dies.remove(phase.name)
            self.job.at_once.discard(phase.name)
            self.inbox.put((self, None))
            return
        self.inbox.put((self, {"tell": "say", "values": [phase.name]}))
        self.inbox.put((self, {"tell": "end", "losses": {cell.id: {"d": 1.0} for cell in phase.ends}}))

    def stop(self) -> None:
        pass

    def close(self, seconds: float) -> None:
        self.closed += 1


class _Ledger(Ledger):
    job: Any = None

    def end(self, phase: Any, losses: Any) -> None:
        self.job.at_once.discard(phase.name)
        super().end(phase, losses)


def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, dies: tuple[str, ...] = ()) -> tuple[Any, Ledger]:
    monkeypatch.setattr(pool, "Worker", Fake)
    Fake.made = 0
    job: Any = SimpleNamespace(reporter=Told(), clock=SimpleNamespace(tokens_per_step=16), begun=[], at_once=set(),
                               dies=list(dies))
    quiet = Reporter(Console(file=open(tmp_path / "told", "w")))  # noqa: SIM115
    ledger = _Ledger(PHASES, lambda name: tmp_path / name, quiet, lambda losses: None)
    ledger.job = job
    pool.run_in_workers(ledger, job, jobs)
    return job, ledger


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_every_phase_is_trained_once_after_its_parent(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, ledger = ran(tmp_path, monkeypatch, jobs)
    begun = [name for name, _ in job.begun]
    assert sorted(begun) == sorted(phase.name for phase in PHASES)
    assert all(phase.parent is None or begun.index(phase.parent) < begun.index(phase.name) for phase in PHASES)
    assert max(len(others) for _, others in job.begun) == min(jobs, 3) - 1, "two branches and the other tree at most"
    assert Fake.made == min(jobs, len(PHASES))
    assert set(ledger.losses) == {cell.id for phase in PHASES for cell in phase.ends}
    assert job.reporter.heard[0] == ("train_at_once", jobs)
    assert job.reporter.heard[-1] == ("train_at_once", 1)
    ledger.told()


def test_what_is_at_work_is_told_by_two_and_a_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, _ = ran(tmp_path, monkeypatch, 2)
    told = [heard[1] for heard in job.reporter.heard if heard[0] == "now"]
    assert any("; " in each for each in told)
    assert not any(" more" in each for each in told)


def test_a_worker_that_dies_is_replaced_and_its_phase_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = PHASES[0].name
    job, ledger = ran(tmp_path, monkeypatch, 1, dies=(first, first))
    assert [name for name, _ in job.begun].count(first) == 3
    assert Fake.made == 3
    ledger.told()
    job, ledger = ran(tmp_path, monkeypatch, 1, dies=(first,) * 3)
    with pytest.raises(SweepError, match="its process ended by signal 9 \\(out of memory\\?\\)"):
        ledger.told()
    assert Fake.made == 4, "one more, who trains what does not branch from it"
    assert list(ledger.losses) == [cell.id for phase in PHASES for cell in phase.ends
                                                if cell.model == LARGE]


@pytest.mark.parametrize(("message", "heard"), [
    ({"tell": "advance", "values": [1.0, 2.0]}, ("advance", 1.0, 2.0)),
    ({"tell": "start", "values": [True, 1.0]}, ("start", True, 1.0)),
    ({"tell": "beside", "values": [3.0]}, ("beside", 3.0)),
    ({"tell": "skip", "phase": "x", "load": {"work": 2.0}}, ("skip", "x", Load(2.0))),
    ({"tell": "replan", "load": {"work": 5.0, "starts": 1.0}}, ("replan", Load(5.0, 1.0))),
    ({"tell": "phase_done", "values": ["x"]}, ("phase_done", "x")),
    ({"tell": "say", "values": ["text"]}, ("say_once", "text")),
])
def test_what_a_worker_tells_is_passed_on_and_ends_nothing(message: Any, heard: tuple[Any, ...]) -> None:
    job: Any = SimpleNamespace(reporter=Told())
    worker: Any = SimpleNamespace(phase="at work")
    pool._hear(worker, message, None, job)  # type: ignore[arg-type]
    assert job.reporter.heard == [heard]
    assert worker.phase == "at work"


def test_the_end_and_the_failure_of_a_phase_free_its_worker() -> None:
    told: list[Any] = []
    ledger: Any = SimpleNamespace(end=lambda *values: told.append(("end", *values)),
                                  fail=lambda *values, **more: told.append(("fail", *values, more)))
    job: Any = SimpleNamespace(reporter=Told())
    worker: Any = SimpleNamespace(phase="a")
    pool._hear(worker, {"tell": "end", "losses": {"c": {"d": 1.0}}}, ledger, job)
    assert worker.phase is None
    pool._hear(worker, {"tell": "end", "losses": {}}, ledger, job)  # it had none: nothing ends twice
    worker.phase = "b"
    pool._hear(worker, {"tell": "fail", "reason": "no room", "passing": True}, ledger, job)
    assert worker.phase is None
    assert told == [("end", "a", {"c": {"d": 1.0}}), ("fail", "b", "no room", {"passing": True})]


@pytest.mark.parametrize(("code", "how", "killed"), [
    (-9, "its process ended by signal 9 (out of memory?)", True), (-11, "its process ended by signal 11", False),
    (3, "its process ended with code 3", False),
])
def test_a_death_is_told_by_signal_or_code(code: int, how: str, killed: bool) -> None:
    told: list[Any] = []
    ledger: Any = SimpleNamespace(fail=lambda *values, **more: told.append((*values, more)))
    worker: Any = SimpleNamespace(phase="a", close=lambda seconds: None, process=SimpleNamespace(returncode=code))
    pool._died(worker, ledger)
    assert told == [("a", how, {"killed": killed})]
    worker.phase = None
    pool._died(worker, ledger)
    assert len(told) == 1, "it had nothing to do"
