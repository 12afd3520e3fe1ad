"""A phase that skipped all its steps has failed, in one process or apart, now and when it is asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitjax.config import UserError
from splitjax.train import Phase, checkpoint, run_phase, starts

from .helpers import STEP, FirstTokens, Poisoned, make_trainer

PHASE = Phase(0, 6 * STEP)


def poisoned(experts: set[int], steps: range) -> dict[tuple[int, int], int]:
    return {(t, k): 1 for k in experts for t in steps}


@pytest.mark.parametrize("placement", ["stacked", "serial"])
def test_a_phase_without_a_step_is_refused_each_time(placement: str, tmp_path: Path) -> None:
    trainer = make_trainer(Poisoned(), placement=placement)
    seed = checkpoint.save(tmp_path / "seed", 0, trainer.init(0), {})

    def go(folder: str, first: dict[tuple[int, int], int]) -> None:
        run_phase(trainer, starts.split(trainer, seed, 2), FirstTokens(2, first), PHASE, tmp_path / folder)

    for _ in range(2):  # its last checkpoint stands when it is asked again
        with pytest.raises(UserError, match=r"all: skipped every one of its 6 steps"):
            go("all", poisoned({0, 1}, range(6)))
    go("one expert is left alone", poisoned({1}, range(6)))
    go("one step is enough", poisoned({0, 1}, range(5)))


def test_skips_before_the_phase_do_not_count(tmp_path: Path) -> None:
    trainer = make_trainer(Poisoned())
    run_phase(trainer, starts.init(trainer, 0), FirstTokens(1, poisoned({0}, range(5))), PHASE, tmp_path / "trunk")
    parent = checkpoint.at(tmp_path / "trunk" / "checkpoints", 6 * STEP)
    on = Phase(6 * STEP, 8 * STEP)
    begin = starts.branch(trainer, parent)
    run_phase(trainer, begin, FirstTokens(1, poisoned({0}, range(6, 7))), on, tmp_path / "on")
    with pytest.raises(UserError, match="every one of its 2 steps"):
        run_phase(trainer, begin, FirstTokens(1, poisoned({0}, range(6, 8))), on, tmp_path / "no")
