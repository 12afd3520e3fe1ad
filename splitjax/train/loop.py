"""The one training loop: trunks, branches, experts and baselines are all stacks in a phase."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from jax import Array

from splitjax.config import UserError
from splitjax.data import prefetch

from . import checkpoint, idle
from .guards.early import EarlyStop, Progress
from .guards.interrupt import Interrupted, Signals
from .guards.rollback import Rollback, put_back
from .guards.watchdog import Watchdog
from .lanes import Lanes, lanes_at, take, whole
from .metrics import MetricsLog, log_path
from .phase import OnStep, Phase, Speed, StepReport
from .record import BEFORE, IDENTITY
from .saving import Kind, SavePolicy
from .schedule import schedule
from .stack import Stack, bare, path_tokens
from .starts import Start
from .step import Metrics, Trainer
from .step_blocks import Blocked, Pending, cut, row_of
from .times import wall
from .working_stack import Working, working

CHECKPOINTS = "checkpoints"


class Log(Protocol):
    """Where rows go (`metrics.MetricsLog`)."""

    def write(self, row: dict[str, Any]) -> None: ...
    def flush(self) -> None: ...


class Streams(Protocol):
    """Batches of several experts, pure functions of t (`splitjax.data.Stacked`)."""

    def batch(self, t: int, rows: slice | None = None) -> np.ndarray:
        """(K, B, T) int32; `rows` slices B."""
        ...

    def pick(self, experts: Sequence[int]) -> Self:
        """Of these experts alone."""
        ...

    def epochs(self, t: int) -> float:
        """How often the most repeated data were gone through after batches 0 … t − 1."""
        ...


def run_stacked(
    trainer: Trainer,
    begin: Start,
    stream: Streams,
    phase: Phase,
    folder: Path,
    *,
    meta: dict[str, Any] | None = None,
    on_step: OnStep | None = None,
    early: EarlyStop | None = None,
) -> Stack:
    """Train from `phase.start` to `phase.stop`, resuming from the folder's last good checkpoint.

    Args:
        begin: makes the first state (see `starts`); not called when there is a checkpoint.
        stream: batch t of all experts, (K, B, T) int32; a process reads those of its own devices alone.
        folder: `checkpoints/` and `metrics.jsonl` of this phase.
        meta: goes into every checkpoint (config, tokenizer hash, manifest hash …).
        on_step: called after each step; the figures that it returns go into the step's row.
        early: stops experts before `phase.stop`. What has ended before, in this phase or in the one that it goes on
            from, stays as it is; checkpoints that come after it hold it so.

    Returns:
        The stack at `phase.stop`, which is also the folder's last checkpoint.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        UserError: a checkpoint or the log could not be written, or every step of every expert was skipped.
    """
    with Signals() as signals, Watchdog() as dog, checkpoint.Writer(folder / CHECKPOINTS) as writer:
        run = Run(trainer, stream, phase, folder, dict(meta or {}), writer, dog, early)
        with wall.spent("checkpoint"):
            run.open(begin)
        # Without a step to make the log is looked over too: it may have been damaged since the last checkpoint.
        with wall.spent("steps"), MetricsLog(log_path(folder), run.tokens, run.log_head()) as log:
            run.train(log, signals, on_step)
        stack = run.stack()
        if "expert" not in run.meta:  # one of a set that trains apart is the set's concern
            idle.refuse(trainer, stack, phase, run.meta, folder)
        return stack


class Run:
    """The state of one run_stacked: where it stands, the working stack, and the experts parked beside it."""

    def __init__(
        self,
        trainer: Trainer,
        stream: Streams,
        phase: Phase,
        folder: Path,
        meta: dict[str, Any],
        writer: checkpoint.Writer,
        dog: Watchdog,
        early: EarlyStop | None,
    ) -> None:
        self.dog, self.early = dog, early
        self.progress = None if early is None else Progress(early, phase.start, None)
        self.trainer, self.stream, self.phase, self.folder, self.writer = trainer, stream, phase, folder, writer
        self.step_tokens = trainer.train.batch_size * trainer.train.seq_len
        phase.check(self.step_tokens)
        self.marks = {*phase.save_at, phase.end}
        self.meta = {"phase": folder.name} | meta | {"train": trainer.train.model_dump(mode="json")}
        self.speed, self.policy = Speed(), SavePolicy(trainer.train, self.marks)

    def open(self, begin: Start) -> None:
        """The last good checkpoint, else what `begin` makes (saved at once where that is asked for)."""
        start = self.phase.start
        saved = set(checkpoint.saved(self.writer.folder))
        # A mark asked for since lies before what was saved then: go back for it, the steps are the same again.
        before = min(self.marks - saved, default=self.phase.end)
        own = self.meta.get(IDENTITY)
        found = checkpoint.restore_latest(self.writer.folder, self.trainer.placement.leaf, before, own)
        if found is None:
            stack, lineage = begin()
            seen_K = path_tokens(stack, self.trainer.placement)
            at = (lineage.get("parent") or {}).get("tokens")  # all experts may have ended before it
            if (int(seen_K.max()) if at is None else at) != start:
                raise ValueError(f"phase begins at {start} path tokens, its first state at {seen_K}")
            self._open(stack, start, (self.meta.get("lineage") or {}) | lineage)
            self.meta[BEFORE] = self.skipped_K.tolist()
            self._watch_skips(None)
            if start in self.marks:
                self._save("keep")
                self.writer.wait()
            return
        stack, meta, tokens = found
        if not start <= tokens <= self.phase.end:
            where = str(checkpoint.at(self.writer.folder, tokens))
            raise UserError(f"checkpoint lies outside this phase ({start} to {self.phase.end})", where=where)
        self._open(stack, tokens, meta.get("lineage"))
        if BEFORE in meta:  # not in checkpoints that are older than the word
            self.meta[BEFORE] = meta[BEFORE]
        self._watch_skips(meta.get("rollback"))
        if self.early:
            self.progress = Progress(self.early, start, meta.get("early"))

    def _watch_skips(self, kept: dict[str, Any] | None) -> None:
        """Begin to count skips, or go on counting, where `train.keep_every` keeps something to go back to."""
        self.rollback: Rollback | None = None
        if self.trainer.train.keep_every:
            self.rollback = Rollback(
                self.step_tokens, self.phase.start, self.skipped_K, kept, self.trainer.train.keep_last
            )

    def _open(self, stack: Stack, tokens: int, lineage: dict[str, Any] | None) -> None:
        self.tokens, self.experts = tokens, stack.experts
        seen_K = path_tokens(stack, self.trainer.placement)
        if (seen_K > tokens).any():
            raise ValueError(f"goes on from {tokens} path tokens, its state from {seen_K}")
        # One that has seen less has ended before.
        self.stops_K = np.where(seen_K < tokens, seen_K, self.phase.stops(stack.experts))
        self.ahead_K = np.zeros(stack.experts)
        self.meta["lineage"] = lineage
        self.lanes = Lanes.full(stack.experts, self.trainer.placement.expert_groups)
        self.skipped_K = np.array(self.trainer.placement.fetch(stack.skipped_K))  # no view: the stack is donated
        self.working: Working = working(self.trainer, stack)
        self.parked = list[tuple[Lanes, Stack]]()

    def log_head(self) -> dict[str, Any]:
        return {
            "experts": self.experts, "phase": self.folder.name, "step_tokens": self.step_tokens,
            "start": self.phase.start,
        }

    def stack(self) -> Stack:
        """All experts, in order."""
        stack = self.working.stack()
        return whole([(self.lanes, stack), *self.parked]) if self.parked else stack

    def train(self, log: Log, signals: Signals, on_step: OnStep | None) -> None:
        """Steps to the end. One, or a block of them, is dispatched before the metrics of what was dispatched before are
        read: the devices never wait for Python."""
        pending: Pending | None = None
        while self.tokens < self.last():
            if self.progress and self.tokens >= self.progress.next and self._stop_early(self.progress, log):
                continue
            self._repack(log)
            with contextlib.closing(self._batches()) as batches:
                for tokens in batches:
                    began, before, pending = self.tokens, pending, self._step(tokens)
                    self._report(before, log, on_step)
                    stop = signals.stop_after(self.tokens // self.step_tokens)
                    if self.rollback and self.rollback.after(self.tokens, self.policy.regular(began, self.tokens)):
                        self._report(pending, log, on_step)
                        self._go_back(self.rollback, pending.metrics, log)
                        pending = None
                    if due := self._due(began, stop is not None):
                        self._report(pending, log, on_step)
                        pending = None
                        log.flush()  # a checkpoint promises that the rows before it are there
                        self._save_due(due)
                    self.writer.check()
                    if stop and self.tokens < self.last():
                        self.writer.wait()
                        raise Interrupted(stop)
        self._report(pending, log, on_step)
        log.flush()
        for mark in sorted(mark for mark in self.marks if mark > self.tokens):  # nobody is left to go there
            self.tokens = mark
            self._save("keep")
        with wall.spent("checkpoint"):
            self.writer.wait()

    def last(self) -> int:
        """Where the last expert ends."""
        return int(self.stops_K.max())

    def _due(self, began: int, stopping: bool) -> Any:
        """What to save after the steps from `began` to here; falsy: nothing."""
        steps = (self.tokens - began) // self.step_tokens
        return self.policy.after(began, self.tokens, steps=steps, stopping=stopping)

    def _halts_before(self, t: int) -> bool:
        return self._halts(self.phase.origin + t * self.step_tokens)

    def _halts(self, tokens: int) -> bool:
        """Whether something must happen there between two steps. It does not depend on what is done."""
        looks = self.rollback is not None and self.rollback.looks(tokens)
        return looks or self.policy.keeps(tokens - self.step_tokens, tokens)

    def _save_due(self, due: Any) -> None:
        self._save(due)

    def _active(self, experts: list[int]) -> np.ndarray:
        """Which of these experts make the next step."""
        return self.tokens < self.stops_K[experts]

    def _stop_early(self, progress: Progress, log: Log) -> list[int]:
        """Evaluate; end those that have not got better for too long."""
        going = set(np.flatnonzero(self.stops_K > self.tokens).tolist())
        stopped = [k for k in progress.judge(self.tokens, self.working.stack(), self.lanes.experts) if k in going]
        self.stops_K[stopped] = self.tokens
        self.dog.beat()
        if stopped:
            log.write({"tokens": self.tokens + self.step_tokens, "event": "early_stop", "experts": stopped})
        return stopped

    def _batches(self) -> Generator[Array, None, None]:
        """Batches for the lanes as they are, or stacked ones of blocks, until an expert ends or all are evaluated."""
        stop = int(self.stops_K[self.stops_K > self.tokens].min())
        if self.progress:
            stop = min(stop, self.progress.next)
        first, last = ((at - self.phase.origin) // self.step_tokens for at in (self.tokens, stop))
        placement, batch_size = self.trainer.placement, self.trainer.train.batch_size
        here, rows = placement.local(self.experts, batch_size)
        mine = [expert for expert in self.lanes.experts if expert in here]
        count = len(self.lanes.experts)

        def place(tokens: np.ndarray) -> Array:
            return placement.put_batch(tokens, count, batch_size)

        stream: Streams | Blocked = self.stream.pick(mine)
        if self.working.block > 1:
            blocks = cut(first, last, self.working.block, self._halts_before)
            stream, first, last = Blocked(stream, blocks), 0, len(blocks)
        # The transfer to the devices runs ahead too, on the threads that make the batches.
        ahead = prefetch(stream, first, last, rows=rows, place=place)
        with contextlib.closing(ahead):
            while True:
                with wall.spent("data"):
                    batch = next(ahead, None)
                if batch is None:
                    return
                yield batch

    def _step(self, tokens: Array) -> Pending:
        """Dispatch one step, or a block of them; rates are the schedule in the middle of each, so neither end of a ramp
        is wasted.

        Args:
            tokens: (K, B, T), of a block (P, K, B, T).
        """
        rows, phase = self.lanes.experts, self.phase
        middle = self.ahead_K + (self.tokens + self.step_tokens / 2)
        count = 1 if tokens.ndim == 3 else len(tokens)
        if count > 1:
            middle = middle + self.step_tokens * np.arange(count)[:, None]
        rate = schedule(self.trainer.train, middle, phase.decay_from, phase.decay_to)[..., rows]
        active_K = self._active(rows)
        if phase.rate:
            rate = rate * np.array(phase.rate)[rows]
        clip_K = np.array(phase.clip)[rows] if phase.clip else None
        controls = self.trainer.controls(rate, self.step_tokens, clip_K, active_K)
        metrics = self.working.step(tokens, controls)
        marks = [self.tokens + self.step_tokens * (at + 1) for at in range(count)]
        self.tokens = marks[-1]
        self.dog.dispatched(self.tokens // self.step_tokens, count)
        return Pending(marks, self.lanes, rate, active_K, metrics)

    def _repack(self, log: Log) -> None:
        """Park the experts that are done, where more than a quarter of the lanes would idle."""
        ends = {k: int(stop) for k, stop in enumerate(self.stops_K) if stop <= self.tokens}
        lanes = lanes_at(self.experts, self.trainer.placement.expert_groups, ends)
        if lanes != self.lanes:
            have, stack = Lanes.full(self.experts, self.trainer.placement.expert_groups), self.stack()
            rest = lanes.left_out(have)
            self.parked = [(rest, take(stack, have, rest))]
            self.lanes, self.working = lanes, working(self.trainer, take(stack, have, lanes))
            if self.tokens in self.stops_K:  # else it is the resumed run that catches up
                log.write({"tokens": self.tokens + self.step_tokens, "event": "repack", "lanes": lanes.experts})

    def _go_back(self, rollback: Rollback, metrics: Metrics, log: Log) -> None:
        """Give experts that skip step after step the state of an older checkpoint; the others keep every bit.

        One that has nothing to go back to skips on beside them; a model alone ends there.

        Raises:
            UserError: it is a model alone.
        """
        lanes, skipped_K = self.lanes.experts, np.atleast_2d(self.trainer.placement.fetch(metrics.skipped_K))[-1]
        going = {k: int(skipped_K[lane]) for lane, k in enumerate(lanes) if self.stops_K[k] > self.tokens}
        alone = self.experts == 1 and "expert" not in self.meta
        for expert, marks in rollback.look(self.tokens, going).items():
            self.writer.wait()  # what was kept last may be among them
            mark = self._put_back(expert, marks)
            log.write({"tokens": self.tokens, "event": "rollback", "experts": [expert], "to": mark})
            if mark is None and alone:
                raise UserError(
                    "every step is skipped, and no older checkpoint is left to go back to", where=str(self.folder),
                    mend="Lower train.learning_rate or train.clip, or look at the text from there on.",
                )
            if mark is not None:
                rollback.went(expert, mark)
                told = {"expert": self.meta.get("expert", expert), "at": self.tokens, "to": mark}
                lineage = self.meta["lineage"] or {}
                self.meta["lineage"] = lineage | {"rollbacks": [*lineage.get("rollbacks", []), told]}
        self.dog.beat()

    def _put_back(self, expert: int, marks: list[int]) -> int | None:
        """Put one expert back to the first of these checkpoints that verifies; None where none is left."""
        for mark in marks:
            source, placement = checkpoint.at(self.writer.folder, mark), self.trainer.placement
            found = put_back(self.working.stack(), source, self.lanes.experts, expert, placement)
            if found is not None:
                self.working = working(self.trainer, found)
                return mark
        return None

    def _save(self, kind: Kind) -> None:
        meta = self.meta | {"tokens": self.tokens} | ({"early": self.progress.to_json()} if self.progress else {})
        meta |= {"rollback": self.rollback.to_json()} if self.rollback else {}
        with wall.spent("checkpoint"):
            stack = self.stack()
            if self.phase.closed and self.tokens == self.phase.end:
                stack = bare(stack)
            last = self.trainer.train.keep_last if kind == "regular" else None
            self.writer.save(self.tokens, stack, meta, temporary=kind == "temporary", last=last)
        self.dog.beat()

    def _report(self, made: Pending | None, log: Log, on_step: OnStep | None) -> None:
        """Tell of each step of what was dispatched; the speed of a block is that of its steps."""
        if made is None:
            return
        speed = self.speed.after(self.step_tokens * len(made.marks) * int(made.active_K.sum()))
        for step in made.singly():
            self._tell(step, speed, log, on_step)

    def _tell(self, step: Pending, speed: float, log: Log, on_step: OnStep | None) -> None:
        row, loss_K, skipped_K = row_of(step, self.experts)  # waits for the step
        self.dog.beat()
        tokens, phase = step.marks[-1], self.phase
        row["tokens_per_s"] = round(speed, 1)
        row["epoch"] = round(self.stream.epochs((tokens - phase.origin) // self.step_tokens), 4)
        if on_step:
            count = int(step.active_K.sum())
            report = StepReport(tokens, phase.start, phase.end, count, loss_K, skipped_K, speed, row)
            row |= on_step(report) or {}
        log.write(row)
