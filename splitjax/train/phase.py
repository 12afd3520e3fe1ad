"""What a phase is, and what it tells while it runs."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Mark = int | tuple[int, ...]
"""Path tokens, the same for every expert or one figure an expert."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training, in path tokens (whole steps of B·S).

    Attributes:
        start: where it begins.
        stop: where it ends; each expert's own budget where they differ.
        origin: where batch 0 of its stream stands; a branch goes on in the trunk's stream with the trunk's origin.
        decay_from, decay_to: where the rate falls to zero (None: constant).
        save_at: checkpoints to keep besides the last.
        rate: what multiplies the scheduled rate, of each expert (None: 1).
        clip: gradient-norm clip of each expert (None: the recipe's).
        closed: nobody goes on from its end: the checkpoint there holds no moments.
    """

    start: int
    stop: Mark
    origin: int = 0
    decay_from: Mark | None = None
    decay_to: Mark | None = None
    save_at: tuple[int, ...] = ()
    rate: tuple[float, ...] | None = None
    clip: tuple[float, ...] | None = None
    closed: bool = False

    @property
    def end(self) -> int:
        """Where its last expert ends."""
        return int(np.max(self.stop))

    def stops(self, experts: int) -> np.ndarray:
        """Where each expert ends, int64 (K,).

        Raises:
            ValueError: as many ends as there are experts were not given.
        """
        if isinstance(self.stop, tuple) and len(self.stop) != experts:
            raise ValueError(f"{len(self.stop)} ends for {experts} experts")
        return np.broadcast_to(np.array(self.stop, np.int64), (experts,))

    def only(self, expert: int, experts: int) -> Phase:
        """The phase of one expert alone."""

        def own(mark: Mark | None) -> int | None:
            return mark[expert] if isinstance(mark, tuple) else mark

        stop = int(self.stops(experts)[expert])
        save_at = tuple(mark for mark in self.save_at if mark <= stop)
        rate, clip = ((each[expert],) if each else None for each in (self.rate, self.clip))
        decay = own(self.decay_from), own(self.decay_to)
        return Phase(self.start, stop, self.origin, *decay, save_at, rate, clip, self.closed)

    def check(self, step_tokens: int) -> None:
        """Raise ValueError unless every mark is a whole number of steps and they are in order."""
        stops = np.unique(self.stop).tolist()
        for mark in (self.start, *stops, *self.save_at):
            if (mark - self.origin) % step_tokens:
                raise ValueError(f"{mark} path tokens is not a whole number of steps of {step_tokens} tokens")
        if not self.origin <= self.start <= stops[0]:
            raise ValueError(f"phase runs backwards: origin {self.origin}, start {self.start}, stop {self.stop}")


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What `on_step` hears, one step behind the devices.

    Attributes:
        tokens, start, stop: where on the path the step ended, and the ends of the phase.
        experts: how many experts made this step (under `serial` one at a time).
        loss_K: nats per token; NaN for an expert that did not make it.
        skipped_K: steps skipped so far.
        tokens_per_s: of all experts together, over the last steps.
        row: the step's row of metrics.jsonl, over all experts.
    """

    tokens: int
    start: int
    stop: int
    experts: int
    loss_K: np.ndarray
    skipped_K: np.ndarray
    tokens_per_s: float
    row: Mapping[str, Any]


OnStep = Callable[[StepReport], dict[str, Any] | None]
"""Hears of each step; what it returns goes into the step's row of metrics.jsonl."""


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
