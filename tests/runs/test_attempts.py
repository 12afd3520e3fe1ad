"""A phase that fails is tried again, then given up with what branches from it; the others go on."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from splitjax.config import Model, UserError
from splitjax.runs.phase_record import Losses
from splitjax.runs.phase_tree import Cell, Phase, grow
from splitjax.runs.reporter import Reporter
from splitjax.runs.workers.attempts import ATTEMPTS, Ledger, SweepError, run_here

SHAPE = Model(d_model=16, n_heads=2)
CELLS = [Cell(SHAPE, 50, 0), Cell(SHAPE, 50, 10), Cell(SHAPE, 100, 10), Cell(SHAPE, 50, 0, 1)]
PHASES = grow(CELLS, 0.2)


class Fake:
    """An executor whose phases fail as told: name → what to raise, once for each item."""

    def __init__(self, failures: dict[str, list[Exception]], losses: dict[str, float] | None = None) -> None:
        self.failures, self.losses, self.tried = failures, losses or {}, Counter[str]()

    def attempt(self, phase: Phase) -> Losses:
        self.tried[phase.name] += 1
        if left := self.failures.get(phase.name):
            raise left.pop(0)
        return {cell.id: {"d": self.losses.get(cell.id, 1.0)} for cell in phase.ends}


def run(fake: Fake, folder: Path) -> tuple[Ledger, list[int]]:
    grown: list[int] = []
    quiet = Reporter(Console(file=open(folder / "told", "w")))  # noqa: SIM115
    ledger = Ledger(PHASES, lambda name: folder / name, quiet, lambda losses: grown.append(len(losses)))
    run_here(ledger, fake)  # type: ignore[arg-type]
    return ledger, grown


def ending(cell: Cell) -> str:
    return next(phase.name for phase in PHASES if cell in phase.ends)


def test_a_passing_failure_is_tried_again(tmp_path: Path) -> None:
    fake = Fake({ending(CELLS[1]): [MemoryError("no room")] * (ATTEMPTS - 1)})
    ledger, grown = run(fake, tmp_path)
    assert set(ledger.losses) == {cell.id for cell in CELLS}
    assert grown == [1, 2, 3, 4]
    assert not list(tmp_path.glob("*/failed.json"))
    ledger.told()


def test_what_fails_every_time_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    trunk = PHASES[0].name
    lost = {cell.id for cell in CELLS if cell.seed is None}
    fake = Fake({trunk: [RuntimeError("first line\nsecond")] * 9})
    ledger, _ = run(fake, tmp_path)
    assert fake.tried[trunk] == ATTEMPTS
    assert set(ledger.failed) == lost
    assert set(ledger.losses) == {CELLS[3].id}
    record = json.loads((tmp_path / trunk / "failed.json").read_text())
    assert set(record["cells"]) == lost
    assert record["attempts"] == ATTEMPTS
    with pytest.raises(SweepError, match=r"3 of 4 cells failed: .*RuntimeError: first line \(test_attempts.py:\d+\)"):
        ledger.told()


def test_a_mistake_of_the_user_s_is_not_tried_again(tmp_path: Path) -> None:
    fake = Fake({ending(CELLS[1]): [UserError("damaged", where="x")] * 9})
    ledger, _ = run(fake, tmp_path)
    assert fake.tried[ending(CELLS[1])] == 1
    assert ledger.failed == {CELLS[1].id: "x: damaged"}


def test_a_loss_that_is_no_number_fails_its_cell_alone(tmp_path: Path) -> None:
    ledger, _ = run(Fake({}, {CELLS[2].id: math.nan}), tmp_path)
    assert list(ledger.failed) == [CELLS[2].id]
    assert "not finite" in ledger.failed[CELLS[2].id]
    assert len(ledger.losses) == 3


def test_a_later_success_clears_the_record_of_a_failure(tmp_path: Path) -> None:
    name = ending(CELLS[1])
    run(Fake({name: [RuntimeError("x")] * ATTEMPTS}), tmp_path)
    assert (tmp_path / name / "failed.json").exists()
    run(Fake({}), tmp_path)
    assert not (tmp_path / name / "failed.json").exists()


def test_an_interruption_is_no_failure(tmp_path: Path) -> None:
    class Stopped(Fake):
        def attempt(self, phase: Phase) -> Losses:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Stopped({}), tmp_path)
    assert not list(tmp_path.glob("*/failed.json"))


@pytest.mark.parametrize(("how", "code"), [((True, True), 75), ((True, False), 1)])
def test_a_sweep_of_which_all_that_failed_was_killed_is_to_be_started_again(
    tmp_path: Path, how: tuple[bool, ...], code: int
) -> None:
    ledger = Ledger(PHASES, lambda name: tmp_path / name, Reporter(), lambda losses: None)
    ends = [phase for phase in PHASES if phase.ends]
    for phase, killed in zip(ends, how, strict=False):
        for _ in range(ATTEMPTS):
            ledger.fail(phase, "its process ended by signal 9 (out of memory?)", killed=killed)
    with pytest.raises(SweepError, match=r"out of memory\?") as caught:
        ledger.told()
    assert caught.value.exit_code == code


def test_five_failed_cells_are_named_and_the_others_counted(tmp_path: Path) -> None:
    """Seven of eight end without a number: two more than are named."""
    cells = [Cell(SHAPE, 10 * (k + 1), 5) for k in range(8)]
    quiet = Reporter(Console(file=open(tmp_path / "told", "w")))  # noqa: SIM115
    phases = grow(cells, 0.2)
    ledger = Ledger(phases, lambda name: tmp_path / name, quiet, lambda losses: None)
    ends = {cell.id: phase for phase in phases for cell in phase.ends}
    for k, cell in enumerate(cells):
        (tmp_path / ends[cell.id].name).mkdir(exist_ok=True)
        ledger.end(ends[cell.id], {cell.id: {"a": 2.0, "b": math.nan if k else 3.0}})
    with pytest.raises(SweepError, match=r"^7 of 8 cells failed: .*; and 2 more\. The same command") as refused:
        ledger.told()
    assert str(refused.value).count("not finite") == 5
    record = json.loads((tmp_path / ends[cells[1].id].name / "failed.json").read_text())
    assert (record["attempts"], record["cells"]) == (1, [cells[1].id])
    assert list(ledger.losses) == [cells[0].id]
