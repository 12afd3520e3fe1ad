"""Progress for people: a live bar in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from splitjax.config import UserError, shown, write_json

QUIET_SECONDS = 5.0
AT_LEAST = 0.1
"""A stage that has outlasted what was expected of it takes at least this share of its time again."""


class Rest(NamedTuple):
    """What a stage without training is expected to take: work and phases as of training, and seconds beside them."""

    work: float
    phases: int
    seconds: float


class Screen(Console):
    """Rich's console, for names and messages that came with data: no markup, no emoji, no escape sequences in them.

    What is to be bold or red is a `Text` with a style.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Rich calls it for every string that it shows."""
        return super().render_str(shown(text, lines=True), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's; a full disk or a terminal that has gone is a broken pipe as well."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            raise BrokenPipeError from error

    def on_broken_pipe(self) -> None:
        """Nobody reads: rich would end the process, which is for its caller to say."""
        raise BrokenPipeError


class Reporter:
    """Tells what runs, how fast, and how long the whole job still takes.

    Work is counted in units that take about equally long each (see `phase_work.work_of`); what a phase
    takes beside its steps (compiling, checkpoints, scoring) is counted by the phase. The time left is
    (work left) · (seconds a unit so far) + (phases left) · (seconds beside a phase so far), and what the stages
    without training are expected to take. A thread keeps the line moving while nothing reports: compiling and fitting
    are silent otherwise.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Screen(file=sys.stderr)
        self._clock, self._lock = clock, threading.Lock()
        self._total = self._done = self._step_seconds = self._beside_seconds = 0.0
        self._phases_left = self._phases_done = 0
        self._said: set[str] = set()
        self._counted: set[str] = set()
        self.jobs = 1
        """Phases that are trained at a time."""
        self.file: Path | None = None
        """Where another process reads how far this one is, while it works."""
        self._tokens_per_s: float | None = None
        self._loss: float | None = None
        self._stage, self._what = "", ""
        self._rest: dict[str, Rest] = {}
        self._share = 0.0
        self._of = self._nth = 0
        self._begun = False
        self._stage_start = self._last_line = clock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> Reporter:
        if self.console.is_terminal:
            self._bar = Progress(TextColumn("{task.description}", markup=False), BarColumn(),
                                 TextColumn("{task.fields[left]}", markup=False), console=self.console, transient=True)
            self._task = self._bar.add_task("", total=1.0, left="")
            self._bar.start()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._closing.set()
        if self._thread:
            self._thread.join()
        if self._bar:
            with self._unheard():
                self._bar.stop()
        if self.file is not None and isinstance(error, Exception) and not isinstance(error, UserError):
            reason = (str(error).splitlines() or [""])[0]
            self._write({"failed": f"{type(error).__name__}: {reason}", "stage": self._stage, "what": self._what})
        elif self.file is not None:
            self.file.unlink(missing_ok=True)

    def plan_work(self, work: float, phases: int) -> None:
        """Set the training work of the whole job (all stages)."""
        self._total, self._phases_left = max(work, self._done), phases

    def plan_rest(self, stages: Mapping[str, Rest]) -> None:
        """Set what the stages that train nothing are expected to take."""
        self._rest = dict(stages)

    def stage(self, name: str, note: str = "", phases: int = 0) -> None:
        """A stage begins.

        Args:
            phases: that it trains; 0: it is not told which of them is at work.
        """
        with self._lock:
            self._stage, self._what, self._stage_start = name, note, self._clock()
            self._tokens_per_s = self._loss = None
            self._share, self._of, self._nth, self._begun = 0.0, phases, 0, False
        self._line()

    def leave(self, stage: str) -> None:
        """A stage has ended, or was done before."""
        self._rest.pop(stage, None)

    def progress(self, share: float) -> None:
        """How much of the stage is done, 0 to 1."""
        self._share = share

    def finish(self, note: str) -> None:
        """The stage ended; `note` is its result in a few words."""
        seconds = self._clock() - self._stage_start
        self.leave(self._stage)
        self._print(Text.assemble((f"{self._stage:>8}", "bold"), f"  {shown(note)} ", (f"({seconds:.0f} s)", "dim")))

    def say(self, text: str, style: str = "") -> None:
        """A line that stays; shown as it is, whatever it holds."""
        self._print(Text(shown(text), style))

    def say_once(self, text: str, style: str = "") -> None:
        """A line that stays, however often it is told."""
        if text not in self._said:
            self._said.add(text)
            self.say(text, style)

    def _print(self, text: Text) -> None:
        with self._unheard():
            self.console.print(text, highlight=False, soft_wrap=True)
        self._last_line = self._clock()

    @contextlib.contextmanager
    def _unheard(self) -> Iterator[None]:
        """Where nobody reads any more, or the disk of a log is full, the run goes on in silence."""
        try:
            yield
        except (OSError, ValueError):
            self.console.quiet = True

    def now(self, what: str) -> None:
        """What is being done, inside the stage, in words."""
        self._what, self._loss, self._begun = what, None, True

    def advance(self, work: float, seconds: float, tokens_per_s: float, loss: float | None = None) -> None:
        """Steps worth `work` units took `seconds`; `loss` is the mean of the models that made the last of them."""
        with self._lock:
            self._done += work
            self._step_seconds += seconds
            self._tokens_per_s, self._loss = tokens_per_s, loss

    def phase_done(self, phase: str, beside: float) -> None:
        """A phase of that name ended; `beside` seconds of it were not steps."""
        with self._lock:
            self._counted.add(phase)
            self._phases_done += 1
            self._phases_left = max(self._phases_left - 1, 0)
            self._beside_seconds += beside
            self._tokens_per_s = self._loss = None
            self._nth += 1

    def skip(self, work: float, phase: str) -> None:
        """A phase that an earlier start already trained: it leaves the job, once, without counting as speed."""
        with self._lock:
            self._nth += 1
            if phase not in self._counted:
                self._counted.add(phase)
                self._total = max(self._total - work, self._done)
                self._phases_left = max(self._phases_left - 1, 0)

    def replan(self, work: float, phases: int) -> None:
        """The job has so much more work, and so many phases more, than was planned; negative where it has less."""
        with self._lock:
            self._total = max(self._total + work, self._done)
            self._phases_left = max(self._phases_left + phases, 0)

    def seconds_left(self) -> float | None:
        """Time left at the speed so far (None before there is one)."""
        if not self._done or not self._step_seconds:
            return None
        rate = self._step_seconds / self._done
        beside = self._beside_seconds / self._phases_done if self._phases_done else 0.0
        left = ((self._total - self._done) * rate + self._phases_left * beside) / self.jobs
        for stage, rest in list(self._rest.items()):
            expected = rest.work * rate + rest.phases * beside + rest.seconds
            left += self._left_of(expected) if stage == self._stage else expected
        return left

    def _left_of(self, expected: float) -> float:
        """What is left of the stage at work: by its own progress where it tells it."""
        spent = self._clock() - self._stage_start
        if self._share:
            return spent * (1 - self._share) / self._share
        return max(expected - spent, AT_LEAST * spent)

    def _beat(self) -> None:
        while not self._closing.wait(0.5):
            if self._bar and not self.console.quiet:
                done = self._done / self._total if self._total else 0.0
                with self._unheard():
                    self._bar.update(self._task, description=self._text(), completed=done, left=self._left())
            elif self._clock() - self._last_line >= QUIET_SECONDS:
                self._line()

            if self.file is not None and self._stage:
                self._write(self.state())

    def state(self) -> dict[str, Any]:
        """How far the job is, for another process: `{stage, what, loss, trained, seconds_left}`."""
        share = self._done / self._total if self._total else None
        return {
            "stage": self._stage, "what": f"{self._what}{self._place()}", "loss": self._loss, "trained": share,
            "seconds_left": self.seconds_left(),
        }

    def _write(self, state: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, UserError):  # a full disk is told by what must be written
            assert self.file is not None
            write_json(self.file, state)

    def _line(self) -> None:
        if not self._bar:
            self.say(f"{self._text()}  {self._left()}")

    def _place(self) -> str:
        return f", {min(self._nth + 1, self._of)} of {self._of}" if self._of and self._begun else ""

    def _text(self) -> str:
        loss = f"  loss {self._loss:.3f}" if self._loss is not None else ""
        speed = f"  {self._tokens_per_s:,.0f} tokens/s" if self._tokens_per_s else ""
        return f"{self._stage:>8}  {shown(self._what)}{self._place()}{loss}{speed}"

    def _left(self) -> str:
        left = self.seconds_left()
        elapsed = f"{self._clock() - self._stage_start:.0f} s"
        if left is None:
            return elapsed
        share = 100 * self._done / self._total if self._total else 0
        return f"{elapsed}, {share:.0f} % trained, {time_left(left)}"


def time_left(seconds: float) -> str:
    """m:ss left, or that it is soon: a job that runs is never without time left."""
    if seconds < 5:
        return "a few seconds left"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} left" if minutes >= 60 else f"{minutes}:{rest:02} left"
