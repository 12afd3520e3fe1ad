"""How long a job still takes: what is left of it, at the pace of what was done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from splitjax.data.progress import left_of, outlasting

MEMORY = 30.0, 1 / 3
"""The pace is that of the last so many seconds of steps, or of this share of all of them, where that is more."""
AGAIN = 0.1
"""What a further start of a program takes beside its steps, over the first, which compiles; until one is known."""


@dataclass(frozen=True)
class Load:
    """Training that is to be done.

    Attributes:
        work: see `phase_work.work_of`.
        starts: phases, or groups of them that are trained side by side: each waits for programs and files once.
        programs: that are compiled for them: of each shape of a model, and of each number of them in one program.
    """

    work: float = 0.0
    starts: float = 0.0
    programs: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.work + other.work, self.starts + other.starts, self.programs + other.programs)

    def __sub__(self, other: Load) -> Load:
        return Load(self.work - other.work, self.starts - other.starts, self.programs - other.programs)

    def not_negative(self) -> Load:
        return Load(max(self.work, 0.0), max(self.starts, 0.0), max(self.programs, 0))


class Rest(NamedTuple):
    """What a stage without training is expected to take: work as of training, and seconds beside it."""

    work: float
    seconds: float


class TimeLeft:
    """Seconds left of a job, from what it tells while it works.

    Steps take (work left) · (seconds a unit of work, of late). What a start takes beside its steps (compiling, reading
    and writing checkpoints, scoring) is known of those so far, apart for the first of a program, which compiles. Stages
    that train nothing take what was foreseen of them, and, from when they tell how far they are, what their own pace
    says.

    Args:
        clock: seconds; injected so that tests need no sleep.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.jobs = 1
        """Starts that are at work at a time."""
        self._left, self._done, self._before = Load(), 0.0, 0.0
        self._recent_work = self._recent_seconds = self._step_seconds = 0.0
        self._beside = {True: [0.0, 0], False: [0.0, 0]}
        self._last_new = True
        self._rest: dict[str, Rest] = {}
        self.stage("")

    def plan(self, load: Load) -> None:
        """The training of the whole job, all stages."""
        self._left = load

    def replan(self, more: Load) -> None:
        """So much more training than was planned; negative where it is less."""
        self._left = (self._left + more).not_negative()

    def skip(self, load: Load) -> None:
        """An earlier process did so much of it: it counts as done, and not as pace."""
        self._before += load.work
        self.replan(Load() - load)

    def expect(self, stages: Mapping[str, Rest]) -> None:
        """What stages, or parts of them, that train nothing are expected to take."""
        self._rest.update(stages)

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._stage = name
        self._share, self._share_from, self._share_at = 0.0, self._clock(), self._clock()
        self._told: float | None = None

    def leave(self, stage: str) -> None:
        """A stage, or a part of one, has ended or was done before."""
        self._rest.pop(stage, None)

    def progress(self, share: float, left: float | None = None) -> None:
        """How much of the stage is done, 0 to 1; its pace is that since it told of 0, or else since it began.

        Args:
            left: seconds, where the stage knows better than its pace.
        """
        self._share, self._share_at, self._told = share, self._clock(), left
        if not share:
            self._share_from = self._share_at

    def start(self, new: bool) -> None:
        """A start begins; `new`: the first of its program."""
        self._last_new = new
        self._beside[new][1] += 1
        self.replan(Load(0.0, -1.0, -1 if new else 0))

    def beside(self, seconds: float) -> None:
        """The start that begun last took so many seconds that were no steps."""
        self._beside[self._last_new][0] += seconds

    def advance(self, work: float, seconds: float) -> None:
        """Steps worth `work` took `seconds`."""
        self._done += work
        self._left = (self._left - Load(work)).not_negative()
        self._step_seconds += seconds
        kept = math.exp(-seconds / max(MEMORY[0], MEMORY[1] * self._step_seconds))
        self._recent_work = kept * self._recent_work + work * (seconds > 0)
        self._recent_seconds = kept * self._recent_seconds + seconds

    @property
    def trained(self) -> float | None:
        """The share of the training work that is done, by this process or before it; None where none is planned."""
        done = self._done + self._before
        return done / (done + self._left.work) if done + self._left.work else None

    def seconds(self) -> float | None:
        """Left of the whole job; None before there is a pace."""
        if not self._recent_work:
            return None
        pace = self._recent_seconds / self._recent_work
        left = (self._left.work * pace + self._beside_left()) / self.jobs
        for stage, rest in list(self._rest.items()):
            expected = rest.work * pace + rest.seconds
            left += self._left_of(expected) if stage == self._stage else expected
        return left

    def of_stage(self) -> float | None:
        """Left of the stage at work, by its own pace; None where it does not tell it."""
        return self._left_of(0.0) if self._share or self._told else None

    def _beside_left(self) -> float:
        """Seconds beside steps of the starts that are left."""
        (new, news), (again, agains) = self._beside[True], self._beside[False]
        of_new = new / news if news else again / agains if agains else 0.0
        of_again = again / agains if agains else AGAIN * of_new
        programs = min(self._left.programs, self._left.starts)
        return programs * of_new + (self._left.starts - programs) * of_again

    def _left_of(self, expected: float) -> float:
        """What is left of the stage at work, of which `expected` seconds were foreseen."""
        left = self._told
        if left is None:
            left = left_of(self._share, self._share_at - self._share_from, expected)
        return outlasting(left, self._clock() - self._share_at)


def time_left(seconds: float) -> str:
    """m:ss left, or that it is soon: a job that runs is never without time left."""
    if seconds < 5:
        return "a few seconds left"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} left" if minutes >= 60 else f"{minutes}:{rest:02} left"
