"""Several steps in one dispatch: the rows, checkpoints and ends of steps made one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from splitjax.parallel import make_mesh
from splitjax.train import (
    EarlyStop,
    Interrupted,
    Part,
    Phase,
    Stack,
    Trainer,
    checkpoint,
    loop,
    path_tokens,
    read_metrics,
    run_phase,
    run_together,
    starts,
)
from splitjax.train.guards import rollback
from splitjax.train.guards.watchdog import FIRST_STEP, Watchdog
from splitjax.train.phase import Speed
from splitjax.train.saving import ASK_EVERY, SavePolicy
from splitjax.train.step_blocks import Blocked, cut

from .helpers import (
    BREAKS,
    STEP,
    Batches,
    Brittle,
    FirstTokens,
    Poisoned,
    events,
    make_trainer,
    recipe,
    same_bits,
    transformer_trainer,
)
from .test_loop import rows_without_times, stop_after

ENDS = Phase(0, tuple(STEP * t for t in (7, 17, 5, 17)), decay_from=4 * STEP, decay_to=20 * STEP, save_at=(10 * STEP,))
"""Experts end at 5, 7 and 17, a mark lies at 10: blocks of 4 are steps 0-3, 10-13 and no others but 13-16."""


@pytest.mark.parametrize(
    ("span", "halts", "wanted"),
    [
        ((0, 8), [], [(0, 4), (4, 8)]),
        ((0, 10), [], [(0, 4), (4, 8), (8, 9), (9, 10)]),
        ((0, 3), [], [(0, 1), (1, 2), (2, 3)]),
        ((0, 10), [6], [(0, 4), (4, 5), (5, 6), (6, 10)]),
        ((2, 12), [2, 6, 12], [(2, 6), (6, 10), (10, 11), (11, 12)]),  # what halts at the ends cuts nothing
        ((5, 5), [], []),
    ],
)
def test_blocks_end_where_something_must_happen(
    span: tuple[int, int], halts: list[int], wanted: list[tuple[int, int]]
) -> None:
    blocks = cut(*span, 4, halts.__contains__)
    assert [(block.start, block.stop) for block in blocks] == wanted
    for at, block in enumerate(blocks):  # whoever is stopped goes on alike
        assert cut(block.start, span[1], 4, halts.__contains__) == blocks[at:]


def test_a_block_brings_its_batches_stacked() -> None:
    stream = Blocked(Batches(2), [range(3, 6), range(6, 7)])
    block, one = stream.batch(0, slice(0, 1)), stream.batch(1)
    assert block.shape == (3, *Batches(2).batch(0, slice(0, 1)).shape)
    assert (block[1] == Batches(2).batch(4, slice(0, 1))).all()
    assert (one == Batches(2).batch(6)).all()


def counted(trainer: Trainer, patch: pytest.MonkeyPatch) -> list[int]:
    """Steps of each dispatch from now on."""
    made: list[int] = []
    step, steps = trainer.step, trainer.steps
    patch.setattr(trainer, "step", lambda *given: (made.append(1), step(*given))[1])
    patch.setattr(trainer, "steps", lambda *given: (made.append(len(given[1])), steps(*given))[1])
    return made


@pytest.fixture(scope="module", params=["scan", "vmap"])
def pair(request: pytest.FixtureRequest) -> tuple[Trainer, Trainer]:
    """Of one form, by single steps and by blocks of 4; a batch that begins with token 1 is skipped."""
    one, four = (make_trainer(Poisoned(), expert_loop=request.param, steps_per_dispatch=steps) for steps in (1, 4))
    return one, four


def go(trainer: Trainer, folder: Path, **more: Any) -> Stack:
    """Four experts with ends of their own; expert 1 skips step 2, expert 3 step 11."""
    stream = FirstTokens(4, {(2, 1): 1, (11, 3): 1})
    return run_phase(trainer, starts.init(trainer, [0, 1, 2, 3]), stream, ENDS, folder, **more)


def left(folder: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows and checkpoints of a phase."""
    return rows_without_times(folder / "metrics.jsonl"), checkpoint.saved(folder / "checkpoints")


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same rows, and bit for bit the same checkpoints."""
    (rows, saved), (its_rows, its_saved) = left(one), left(other)
    at = [[checkpoint.at(folder / "checkpoints", mark) for mark in saved] for folder in (one, other)]
    bits = (same_bits(*(checkpoint.restore(path)[0] for path in pair)) for pair in zip(*at, strict=True))
    return str(rows) == str(its_rows) and saved == its_saved and all(bits)  # as text: a loss may be NaN


def test_a_phase_in_blocks_is_one_of_single_steps(
    pair: tuple[Trainer, Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, four = pair
    made, heard = counted(four, monkeypatch), list[int]()
    stacks = go(one, tmp_path / "one"), go(four, tmp_path / "four", on_step=lambda told: heard.append(told.tokens))
    assert made == [4, 1, 1, 1, 1, 1, 1, 4, 1, 1, 1]
    assert heard == [STEP * t for t in range(1, 18)]
    assert same_bits(*stacks)
    assert stacks[1].skipped_K.tolist() == [0, 1, 0, 1]
    assert same(tmp_path / "one", tmp_path / "four")
    assert left(tmp_path / "four")[1] == [10 * STEP, 17 * STEP]


@pytest.mark.slow
@pytest.mark.fused
@pytest.mark.parametrize("loop", ["scan", "vmap"])
def test_a_transformer_in_blocks_has_the_losses_of_single_steps(loop: str, tmp_path: Path) -> None:
    rows = []
    for steps in (1, 3):
        trainer = transformer_trainer(expert_loop=loop, steps_per_dispatch=steps)
        run_phase(trainer, starts.init(trainer, [0, 1]), Batches(2), Phase(0, 7 * STEP), tmp_path / f"{steps}")
        rows.append([row["loss"] for row in read_metrics(tmp_path / f"{steps}" / "metrics.jsonl")])
    np.testing.assert_allclose(rows[0], rows[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "saved", "wanted"),
    [(1, 5, [1, 1, 1, 1, 1, 4, 1, 1, 1]), (2, 5, [1, 1, 1, 1, 1, 4, 1, 1, 1]), (10, 14, [1, 1, 1])],
)
def test_a_phase_that_is_stopped_in_a_block_ends_the_block_and_goes_on_alike(
    pair: tuple[Trainer, Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, saved: int,
    wanted: list[int],
) -> None:
    """The signal comes with the report of a step: after its block, what was dispatched before that ends too."""
    _, four = pair
    go(four, tmp_path / "whole" / "p")
    with pytest.raises(Interrupted):
        go(four, tmp_path / "p", on_step=stop_after(steps))
    assert saved * STEP in checkpoint.saved(tmp_path / "p" / "checkpoints")
    made = counted(four, monkeypatch)
    go(four, tmp_path / "p")
    assert made == wanted
    assert same(tmp_path / "p", tmp_path / "whole" / "p")


@pytest.mark.parametrize(("loop", "experts", "wanted"), [("dispatch", 2, 1), ("dispatch", 1, 4), ("auto", 2, 1)])
def test_experts_that_are_dispatched_one_by_one_make_single_steps(
    loop: str, experts: int, wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(expert_loop=loop, steps_per_dispatch=4)  # auto: on a CPU
    made = counted(trainer, monkeypatch)
    begin = starts.init(trainer, list(range(experts)))
    run_phase(trainer, begin, Batches(experts), Phase(0, 8 * STEP), tmp_path)
    assert set(made) == {wanted}


def test_on_a_mesh_and_left_open_steps_are_made_one_by_one() -> None:
    assert make_trainer().block == 1
    assert make_trainer(steps_per_dispatch=4).block == 4
    assert Trainer(Poisoned(), recipe(steps_per_dispatch=4), make_mesh()).block == 1


def test_two_programs_serve_every_length_and_no_transfer_is_implicit(tmp_path: Path) -> None:
    trainer = make_trainer(expert_loop="vmap", steps_per_dispatch=4)
    stack, lineage = starts.init(trainer, [0, 1])()
    begin, phase = starts.Start(2, lambda _: (stack, lineage)), Phase(0, 15 * STEP, save_at=(5 * STEP, 6 * STEP))
    with jax.transfer_guard_host_to_device("disallow"), jax.transfer_guard_device_to_host("disallow"):
        run_phase(trainer, begin, Batches(2), phase, tmp_path)
    assert (trainer._step._cache_size(), trainer._steps._cache_size()) == (1, 1)


def test_an_evaluation_for_an_early_stop_comes_at_its_step(tmp_path: Path) -> None:
    heard: dict[int, list[int]] = {1: [], 4: []}
    for steps, seen in heard.items():
        trainer = make_trainer(expert_loop="scan", steps_per_dispatch=steps)

        def losses(stack: Stack, experts: Any, seen: list[int] = seen) -> np.ndarray:
            seen.append(int(path_tokens(stack).max()) // STEP)
            return np.array([float(len(seen) > 2 and k == 1) for k in experts])  # expert 1: ends at the third

        stop = EarlyStop(5 * STEP, (1, None), losses)
        begin = starts.init(trainer, [0, 1])
        run_phase(trainer, begin, Batches(2), Phase(0, 19 * STEP), tmp_path / f"{steps}", early=stop)
    assert heard[1] == heard[4]
    assert heard[4][:2] == [5, 10]
    assert same(tmp_path / "1", tmp_path / "4")


@pytest.mark.parametrize(
    ("after", "kept", "made", "back"),
    [(2, 3, [2, 1, 1, 2] * 3 + [2], (14, 9)), (4, 4, [4] * 5, (16, 8))],  # in steps; it skips from the 13th on
)
def test_an_expert_goes_back_at_the_same_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, kept: int, made: list[int], back: tuple[int, int]
) -> None:
    monkeypatch.setattr(rollback, "AFTER", after)
    for steps in (1, after):
        trainer = make_trainer(Brittle(), expert_loop="scan", keep_every=kept * STEP, steps_per_dispatch=steps)
        dispatches = counted(trainer, monkeypatch)
        begin = starts.init(trainer, [0, 0, 0])
        run_phase(trainer, begin, FirstTokens(3, BREAKS), Phase(0, 20 * STEP), tmp_path / f"{steps}")
    assert dispatches == made
    assert events(tmp_path / f"{after}") == events(tmp_path / "1") == [back]
    assert same(tmp_path / "1", tmp_path / f"{after}")


BRANCHES = {
    "short": (1, Phase(4 * STEP, 9 * STEP, decay_from=4 * STEP, decay_to=9 * STEP, closed=True)),
    "long": (3, Phase(4 * STEP, 17 * STEP, origin=4 * STEP, save_at=(10 * STEP,))),
}
"""Lanes that end 5 and 13 steps on, with a mark 6 steps on: blocks of 4 are the first of each stretch."""


def parts_in(trainer: Trainer, folder: Path, trunk: Path) -> list[Part]:
    return [
        Part(starts.split(trainer, trunk, experts), Batches(experts), phase, folder / name, {})
        for name, (experts, phase) in BRANCHES.items()
    ]


def test_lanes_of_different_ends_go_in_blocks_and_survive_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, four = (make_trainer(expert_loop="vmap", steps_per_dispatch=steps) for steps in (1, 4))
    run_phase(one, starts.init(one, 0), Batches(1), Phase(0, 4 * STEP), tmp_path / "trunk")
    trunk = checkpoint.at(tmp_path / "trunk" / "checkpoints", 4 * STEP)
    run_together(one, parts_in(one, tmp_path / "one", trunk))
    with monkeypatch.context() as patch:
        made = counted(four, patch)
        told: list[tuple[str, int]] = []
        run_together(four, parts_in(four, tmp_path / "four", trunk),
                     on_row=lambda name, row, count: told.append((name, row["tokens"] // STEP)))
    assert made == [4, 1, 1, 4, 1, 1, 1]
    assert [tokens for name, tokens in told if name == "short"] == list(range(5, 10))
    assert [tokens for name, tokens in told if name == "long"] == list(range(5, 18))
    with pytest.raises(Interrupted):
        run_together(four, parts_in(four, tmp_path / "cut", trunk), on_step=stop_after(6))
    run_together(four, parts_in(four, tmp_path / "cut", trunk))
    for name in BRANCHES:
        assert same(tmp_path / "one" / name, tmp_path / "four" / name)
        assert same(tmp_path / "cut" / name, tmp_path / "four" / name)


def test_the_clock_is_looked_at_after_a_block_that_holds_the_sixteenth_step() -> None:
    now = 0.0
    policy = SavePolicy(recipe(checkpoint_minutes=1.0), {}, lambda: now)
    now = 61.0
    made = [policy.after(10 * at, 10 * (at + 6), steps=6) for at in range(0, 36, 6)]
    assert ASK_EVERY == 16
    assert made == [None, None, "temporary", None, None, None]  # 18 steps; then the clock is wound again


def test_the_loop_counts_every_step_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, given, save = list[tuple[int, bool]](), list[tuple[int, int]](), checkpoint.Writer.save

    def noted(self: checkpoint.Writer, tokens: int, *rest: Any, **more: Any) -> Any:
        saved.append((tokens // STEP, more["temporary"]))
        return save(self, tokens, *rest, **more)

    monkeypatch.setattr(checkpoint.Writer, "save", noted)
    monkeypatch.setattr(Watchdog, "dispatched", lambda self, step, steps: given.append((step, steps)))
    trainer = make_trainer(expert_loop="scan", steps_per_dispatch=4, checkpoint_minutes=1e-9)
    run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(0, 21 * STEP), tmp_path)
    assert saved == [(16, True), (21, False)]  # the clock is looked at every sixteenth step
    assert given == [(4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (21, 1)]


def test_a_block_may_take_the_time_out_of_each_of_its_steps() -> None:
    dog = Watchdog(9.0, print)
    dog.dispatched(4, 4)
    assert dog._left == (FIRST_STEP + 3) * 9.0
    dog.beat()
    assert dog._left == 4 * 9.0


def test_the_speed_of_a_block_is_that_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second a dispatch: a row of four steps tells four steps a second, whatever the window holds."""
    seconds = iter(range(100))
    monkeypatch.setattr(loop, "Speed", lambda: Speed(clock=lambda: float(next(seconds)), window=2))
    trainer = make_trainer(expert_loop="scan", steps_per_dispatch=4)
    run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(0, 16 * STEP), tmp_path)
    speeds = [row["tokens_per_s"] / STEP for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert speeds == [0.0] * 4 + [4.0] * 12
