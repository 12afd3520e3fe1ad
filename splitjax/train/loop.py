"""The one training loop: trunks, branches, experts and baselines are all phases."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from splitjax.config import UserError
from splitjax.data.prefetch import Batches, prefetch

from . import checkpoint
from .interrupt import Interrupted, Signals
from .metrics import MetricsLog
from .schedule import schedule
from .stack import Stack, path_tokens
from .starts import Start
from .step import Metrics, Trainer

CHECKPOINTS, METRICS = "checkpoints", "metrics.jsonl"


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training, in path tokens (multiples of a step's B·S).

    Attributes:
        start, stop: where it begins and ends.
        origin: where batch 0 of its stream stands; a branch goes on in the trunk's stream with the trunk's origin.
        decay_from, decay_to: where the rate falls to zero (None: constant).
        save_at: checkpoints to keep besides the last.
    """

    start: int
    stop: int
    origin: int = 0
    decay_from: int | None = None
    decay_to: int | None = None
    save_at: tuple[int, ...] = ()

    def check(self, step_tokens: int) -> None:
        """Raise ValueError unless every mark is a whole number of steps and they are in order."""
        for mark in (self.start, self.stop, *self.save_at):
            if (mark - self.origin) % step_tokens:
                raise ValueError(f"{mark} path tokens is not a whole number of steps of {step_tokens} tokens")
        if not self.origin <= self.start <= self.stop:
            raise ValueError(f"phase runs backwards: origin {self.origin}, start {self.start}, stop {self.stop}")


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What `on_step` hears, one step behind the devices. Losses are nats per token."""

    tokens: int
    start: int
    stop: int
    loss_K: np.ndarray
    skipped_K: np.ndarray
    tokens_per_s: float


def run_phase(
    trainer: Trainer,
    begin: Start,
    stream: Batches,
    phase: Phase,
    folder: Path,
    *,
    meta: dict[str, Any] | None = None,
    on_step: Callable[[StepReport], None] | None = None,
) -> Stack:
    """Train from `phase.start` to `phase.stop`, resuming from the folder's last good checkpoint.

    Args:
        begin: makes the first state (see `starts`); not called when there is a checkpoint.
        stream: batch t of all experts, (K, B, T) int32.
        folder: `checkpoints/` and `metrics.jsonl` of this phase.
        meta: goes into every checkpoint (config, tokenizer hash, manifest hash …).
        on_step: called after each step.

    Returns:
        The stack at `phase.stop`, which is also the folder's last checkpoint.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        UserError: a checkpoint or the log could not be written.
    """
    return _Run(trainer, stream, phase, folder, meta or {}, on_step).go(begin)


class _Run:
    """One call of run_phase: what stays the same over its steps."""

    def __init__(
        self,
        trainer: Trainer,
        stream: Batches,
        phase: Phase,
        folder: Path,
        meta: dict[str, Any],
        on_step: Callable[[StepReport], None] | None,
    ) -> None:
        self.trainer, self.stream, self.phase, self.folder, self.on_step = trainer, stream, phase, folder, on_step
        self.step_tokens = trainer.train.batch_size * trainer.train.seq_len
        phase.check(self.step_tokens)
        self.marks = {*phase.save_at, phase.stop}
        self.meta = meta | {"phase": folder.name, "train": trainer.train.model_dump(mode="json")}
        self.speed = Speed()

    def go(self, begin: Start) -> Stack:
        with Signals() as signals, checkpoint.Writer(self.folder / CHECKPOINTS) as writer:
            stack, tokens = self._first_state(begin, writer)
            if tokens == self.phase.stop:
                return stack
            first, last = ((at - self.phase.origin) // self.step_tokens for at in (tokens, self.phase.stop))
            head = {"experts": stack.experts, "phase": self.folder.name, "step_tokens": self.step_tokens}
            with (
                MetricsLog(self.folder / METRICS, tokens, head) as log,
                contextlib.closing(self._batches(first, last)) as batches,
            ):
                return self._steps(stack, tokens, batches, writer, log, signals)

    def _batches(self, first: int, last: int) -> Generator[Array, None, None]:
        # Also the transfer to the devices runs ahead, on the threads that make the batches.
        yield from prefetch(self.stream, first, last, place=self.trainer.placement.put_batch)

    def _first_state(self, begin: Start, writer: checkpoint.Writer) -> tuple[Stack, int]:
        """The last good checkpoint, else what `begin` makes (saved at once where that is asked for)."""
        start, stop = self.phase.start, self.phase.stop
        found = checkpoint.restore_latest(writer.folder, self.trainer.placement.leaf)
        if found is not None:
            stack, meta, tokens = found
            if not start <= tokens <= stop:
                where = str(checkpoint.at(writer.folder, tokens))
                raise UserError(f"checkpoint lies outside this phase ({start} to {stop})", where=where)
            self.meta["lineage"] = meta.get("lineage")
            return stack, tokens
        stack, self.meta["lineage"] = begin()
        if (path_tokens(stack) != start).any():
            raise ValueError(f"phase begins at {start} path tokens, its first state stands at {path_tokens(stack)}")
        if start in self.marks:
            self._save(stack, start, writer)
        if start == stop:
            writer.wait()
        return stack, start

    def _steps(
        self, stack: Stack, tokens: int, batches: Iterable[Array], writer: checkpoint.Writer, log: MetricsLog,
        signals: Signals,
    ) -> Stack:
        """Step n + 1 is dispatched before n's metrics are read, so the devices never wait for Python."""
        pending: _Step | None = None
        for tokens_KBT in batches:
            rate_K = self._rates(tokens, stack.experts)
            stack, metrics = self.trainer.step(stack, tokens_KBT, self.trainer.controls(rate_K, self.step_tokens))
            tokens += self.step_tokens
            self._report(pending, log)
            pending = _Step(tokens, rate_K, metrics)
            if tokens in self.marks or signals.received:
                self._report(pending, log)
                pending = None
                log.flush()  # a checkpoint promises that the rows before it are there
                self._save(stack, tokens, writer)
            writer.check()
            if signals.received and tokens != self.phase.stop:
                writer.wait()
                raise Interrupted(signals.received)
        writer.wait()
        return stack

    def _rates(self, tokens: int, k: int) -> np.ndarray:
        """Rates of the step that begins at `tokens`: the schedule in its middle, so neither end of a ramp is wasted."""
        middle = tokens + self.step_tokens / 2
        rate = schedule(self.trainer.train, middle, self.phase.decay_from, self.phase.decay_to)
        return np.broadcast_to(rate, (k,))

    def _save(self, stack: Stack, tokens: int, writer: checkpoint.Writer) -> None:
        writer.save(tokens, stack, self.meta | {"tokens": tokens})

    def _report(self, step: _Step | None, log: MetricsLog) -> None:
        if step is None:
            return
        metrics = jax.device_get(step.metrics)
        speed = self.speed.after(self.step_tokens * len(metrics.loss_K))
        log.write(
            {
                "tokens": step.tokens,
                "loss": metrics.loss_K.tolist(),
                "grad_norm": metrics.grad_norm_K.tolist(),
                "rate": step.rate_K.tolist(),
                "skipped": metrics.skipped_K.tolist(),
                "tokens_per_s": round(speed, 1),
            }
        )
        if self.on_step:
            self.on_step(
                StepReport(step.tokens, self.phase.start, self.phase.stop, metrics.loss_K, metrics.skipped_K, speed)
            )


class _Step(NamedTuple):
    """A step whose metrics are still on the devices."""

    tokens: int
    rate_K: np.ndarray
    metrics: Metrics


class Speed:
    """Tokens a second over the last steps; the first step, which compiles, is left out.

    Args:
        clock: seconds; injected so that tests need not sleep.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, window: int = 20) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque(maxlen=window + 1)
        self._tokens = 0

    def after(self, tokens: int) -> float:
        """Count a step's tokens that are done now; 0.0 until there are two steps to compare."""
        self._tokens += tokens
        self._marks.append((self._clock(), self._tokens))
        (began, before), (now, after) = self._marks[0], self._marks[-1]
        return (after - before) / (now - began) if now > began else 0.0
