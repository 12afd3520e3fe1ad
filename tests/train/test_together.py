"""Phases side by side: on disk what each is alone, whatever interrupts them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from splitjax.config import ReadError, UserError
from splitjax.train import Interrupted, Part, Phase, Trainer, checkpoint, read_metrics, run_phase, run_together, starts
from splitjax.train.guards.interrupt import Signals

from .helpers import STEP, Batches, Poisoned, make_trainer, same_bits

TRUNK = Phase(0, 12 * STEP, save_at=(4 * STEP, 6 * STEP))
BRANCHES = {
    "mix": Phase(4 * STEP, 7 * STEP, decay_from=4 * STEP, decay_to=7 * STEP, closed=True),
    "experts": Phase(6 * STEP, 12 * STEP, origin=6 * STEP, save_at=(8 * STEP,)),
    "long": Phase(12 * STEP, 21 * STEP, origin=12 * STEP, decay_from=18 * STEP, decay_to=21 * STEP, closed=True),
    "nothing": Phase(4 * STEP, 4 * STEP, decay_from=2 * STEP, decay_to=4 * STEP),
}
EXPERTS = {"mix": 1, "experts": 3, "long": 3, "nothing": 1}


def parts_in(trainer: Trainer, folder: Path) -> list[Part]:
    trunk = folder / "trunk" / "checkpoints"
    found = []
    for name, phase in BRANCHES.items():
        parent = checkpoint.at(trunk, phase.start)
        begin = starts.split(trainer, parent, 3) if EXPERTS[name] > 1 else starts.branch(trainer, parent)
        found.append(Part(begin, Batches(EXPERTS[name]), phase, folder / name, {"note": name}))
    return found


def alone(trainer: Trainer, folder: Path) -> None:
    for part in parts_in(trainer, folder):
        run_phase(trainer, part.begin, part.stream, part.phase, part.folder, meta=part.meta)


@pytest.fixture(scope="module", params=["dispatch", "vmap"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path]:
    """A trunk, and its branches trained one by one."""
    trainer, folder = make_trainer(expert_loop=request.param), tmp_path_factory.mktemp(request.param)
    run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, folder / "trunk")
    alone(trainer, folder)
    return trainer, folder


@pytest.fixture
def fresh(made: tuple[Trainer, Path], tmp_path: Path) -> tuple[Trainer, Path, Path]:
    trainer, folder = made
    shutil.copytree(folder / "trunk", tmp_path / "trunk")
    return trainer, folder, tmp_path


def assert_same(one: Path, other: Path, exact: bool) -> None:
    """Checkpoints, meta data and logs."""
    for name in BRANCHES:
        saved = checkpoint.saved(one / name / "checkpoints")
        assert saved == checkpoint.saved(other / name / "checkpoints")
        for tokens in saved:
            (a, a_meta), (b, b_meta) = (
                checkpoint.restore(checkpoint.at(each / name / "checkpoints", tokens)) for each in (one, other)
            )
            assert a_meta == b_meta
            if exact:
                assert same_bits(a, b)
            for x, y in zip(a.params.values(), b.params.values(), strict=True):
                leaf, its = (next(iter(v.values())) if isinstance(v, dict) else v for v in (x, y))
                np.testing.assert_allclose(leaf, its, atol=1e-5)
        rows, its = (read_metrics(each / name / "metrics.jsonl") for each in (one, other))
        assert [row["tokens"] for row in rows] == [row["tokens"] for row in its]
        for row, its_row in zip(rows, its, strict=True):
            np.testing.assert_allclose(row["loss"], its_row["loss"], atol=0 if exact else 1e-5)
            assert [row[key] for key in ("rate", "skipped", "epoch")] == [
                its_row[key] for key in ("rate", "skipped", "epoch")
            ]


def test_each_is_what_it_is_alone(fresh: tuple[Trainer, Path, Path]) -> None:
    trainer, one_by_one, here = fresh
    stacks = run_together(trainer, parts_in(trainer, here))
    exact = trainer.loop_form == "dispatch"
    assert_same(here, one_by_one, exact)
    for name, stack in zip(BRANCHES, stacks, strict=True):
        last = checkpoint.restore(checkpoint.at(here / name / "checkpoints", BRANCHES[name].end))[0]
        assert same_bits(stack.params, last.params)  # type: ignore[union-attr]
    assert not list((here / "mix" / "checkpoints").glob("*/state/mu*")), "it is closed"
    assert list((here / "experts" / "checkpoints").glob("*/state/mu*"))


def stop_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    made = iter(range(steps))
    patch.setattr(Signals, "stop_after", lambda self, step: 15 if next(made, None) is None else None)


def stopped_at(trainer: Trainer, here: Path, steps: int, identity: str) -> list[Part]:
    """The parts as a run of this identity left them after so many steps."""
    parts = [replace(part, meta=part.meta | {"identity": identity}) for part in parts_in(trainer, here)]
    with pytest.MonkeyPatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(Interrupted):
            run_together(trainer, parts)
    return parts


def test_what_another_run_left_is_not_taken_up(fresh: tuple[Trainer, Path, Path]) -> None:
    trainer, _, here = fresh
    theirs = stopped_at(trainer, here, 3, "theirs")
    ours = [replace(part, meta=part.meta | {"identity": "ours"}) for part in theirs]
    with pytest.raises(UserError, match="a checkpoint of another run"):
        run_together(trainer, ours)


def test_what_cannot_be_read_may_be_whole_and_nothing_takes_its_place(
    fresh: tuple[Trainer, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _, here = fresh
    parts = stopped_at(trainer, here, 3, "ours")
    before = {part.folder: checkpoint.saved(part.folder / "checkpoints") for part in parts}
    assert any(before.values()), "or this test shows nothing"

    def unreadable(*given: object, **options: object) -> None:
        raise ReadError("Input/output error", where="here")

    monkeypatch.setattr(checkpoint, "restore", unreadable)
    with pytest.raises(ReadError):
        run_together(trainer, parts)
    assert {part.folder: checkpoint.saved(part.folder / "checkpoints") for part in parts} == before


@pytest.mark.parametrize("steps", [0, 1, 3, 5])
def test_a_stop_at_any_step_leaves_the_same(fresh: tuple[Trainer, Path, Path], steps: int) -> None:
    trainer, _, here = fresh
    for folder in ("stopped", "whole"):
        shutil.copytree(here / "trunk", here / folder / "trunk")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(Interrupted):
            run_together(trainer, parts_in(trainer, here / "stopped"))
    run_together(trainer, parts_in(trainer, here / "stopped"))
    run_together(trainer, parts_in(trainer, here / "whole"))
    assert_same(here / "stopped", here / "whole", exact=True)


def test_what_is_done_or_at_its_end_is_not_made_again_and_changes_no_bit(fresh: tuple[Trainer, Path, Path]) -> None:
    """As after a kill: of one phase the end is there, of another only the table knows, a third lost all."""
    trainer, _, here = fresh
    run_together(trainer, parts_in(trainer, here))
    shutil.copytree(here, here / "whole")
    shutil.rmtree(here / "experts")
    stamp = (here / "long" / "checkpoints").stat().st_mtime_ns
    first, *rest = parts_in(trainer, here)
    asked: list[int] = []
    begin = starts.Start(1, lambda wanted: asked.append(1))  # type: ignore[arg-type, return-value, func-returns-value]
    done = replace(first, begin=begin, done=True)
    stacks = run_together(trainer, [done, *rest])
    assert stacks[0] is None
    assert not asked
    assert (here / "long" / "checkpoints").stat().st_mtime_ns == stamp
    assert_same(here, here / "whole", exact=True)


def test_a_damaged_checkpoint_is_passed_over_for_all(fresh: tuple[Trainer, Path, Path]) -> None:
    trainer, _, here = fresh
    run_together(trainer, parts_in(trainer, here))
    shutil.copytree(here, here / "whole")
    record = checkpoint.at(here / "long" / "checkpoints", 21 * STEP) / "checkpoint.json"
    record.write_text(record.read_text().replace('"long"', '"lang"'))
    run_together(trainer, parts_in(trainer, here))
    assert_same(here, here / "whole", exact=True)


def test_one_that_learnt_nothing_is_refused_alone(tmp_path: Path) -> None:
    class Poison(Batches):
        def batch(self, t: int, rows: slice | None = None) -> np.ndarray:
            tokens = super().batch(t, rows)
            tokens[:, 0, 0] = 1
            return tokens

    trainer = make_trainer(Poisoned())
    run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path / "trunk")
    mix, experts, *_ = parts_in(trainer, tmp_path)
    stacks = run_together(trainer, [mix, replace(experts, stream=Poison(3))])
    assert not isinstance(stacks[0], UserError)
    assert isinstance(stacks[1], UserError)
    assert "skipped every one of its 6 steps" in str(stacks[1])


def test_rows_of_metrics_are_each_phase_s_own(fresh: tuple[Trainer, Path, Path]) -> None:
    trainer, _, here = fresh
    heard: list[tuple[str, int, int]] = []
    run_together(trainer, parts_in(trainer, here), on_step=lambda told: {"mfu": told.experts / 10},
                 on_row=lambda name, row, count: heard.append((name, row["tokens"] // STEP, count)))
    assert heard[:3] == [("mix", 5, 1), ("experts", 7, 3), ("long", 13, 3)]
    row = read_metrics(here / "mix" / "metrics.jsonl")[0]
    assert (row["mfu"], len(row["loss"]), row["idle"]) == (0.7, 1, 0)
