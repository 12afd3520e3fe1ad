"""Progress for people: a live bar in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from splitjax.config import UserError, shown, write_json

from .telling.time_left import Load, Rest, TimeLeft, time_left

QUIET_SECONDS = 5.0


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
    """Tells what runs, how fast, and how long the whole job still takes (see `TimeLeft`).

    A thread keeps the line moving while nothing reports: compiling and fitting are silent otherwise.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Screen(file=sys.stderr)
        self._clock, self._lock = clock, threading.Lock()
        self._time = TimeLeft(clock)
        self._said: set[str] = set()
        self._counted: set[str] = set()
        self.file: Path | None = None
        """Where another process reads how far this one is, while it works."""
        self._tokens_per_s: float | None = None
        self._loss: float | None = None
        self._stage, self._what = "", ""
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
            self._task = self._bar.add_task("", total=1.0, left="", visible=False)
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

    def plan_work(self, load: Load) -> None:
        """Set the training of the whole job (all stages)."""
        self._time.plan(load)

    def plan_rest(self, stages: Mapping[str, Rest]) -> None:
        """Set what stages, or parts of them, that train nothing are expected to take."""
        self._time.expect(stages)

    def train_at_once(self, jobs: int) -> None:
        """So many phases are trained at a time."""
        self._time.jobs = jobs

    def stage(self, name: str, note: str = "", phases: int = 0) -> None:
        """A stage begins.

        Args:
            phases: that it trains; 0: it is not told which of them is at work.
        """
        with self._lock:
            self._stage, self._what, self._stage_start = name, note, self._clock()
            self._tokens_per_s = self._loss = None
            self._of, self._nth, self._begun = phases, 0, False
            self._time.stage(name)
        self._line()

    def leave(self, stage: str) -> None:
        """A stage, or a part of one that `plan_rest` names, has ended or was done before."""
        self._time.leave(stage)

    def progress(self, share: float, left: float | None = None) -> None:
        """How much of the stage is done, 0 to 1; its own pace is that since it told of 0, or else since it began.

        Args:
            left: seconds, where the stage knows better than its pace.
        """
        self._time.progress(share, left)

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
            self._time.advance(work, seconds)
            self._tokens_per_s, self._loss = tokens_per_s, loss

    def start(self, new: bool, seconds: float, before: float = 0.0) -> None:
        """A phase, or several side by side, came to its first step.

        Args:
            new: whether it is the first of its program, which compiles.
            seconds: that it waited.
            before: work of it that an earlier process did.
        """
        with self._lock:
            self._time.start(new)
            self._time.beside(seconds)
            self._time.skip(Load(before))

    def beside(self, seconds: float) -> None:
        """What started last took so many seconds more that were no steps."""
        with self._lock:
            self._time.beside(seconds)

    def phase_done(self, phase: str) -> None:
        """A phase of that name ended."""
        with self._lock:
            self._counted.add(phase)
            self._tokens_per_s = self._loss = None
            self._nth += 1

    def skip(self, phase: str, load: Load) -> None:
        """A phase that an earlier process already trained: it leaves the job, once, without counting as speed."""
        with self._lock:
            self._nth += 1
            if phase not in self._counted:
                self._counted.add(phase)
                self._time.skip(load)

    def done_before(self, load: Load) -> None:
        """An earlier process did all this training."""
        with self._lock:
            self._time.skip(load)

    def replan(self, more: Load) -> None:
        """The job has so much more training than was planned; negative where it has less."""
        with self._lock:
            self._time.replan(more)

    def seconds_left(self) -> float | None:
        """Of the whole job, at the pace so far (None before there is one)."""
        with self._lock:
            return self._time.seconds()

    def _beat(self) -> None:
        while not self._closing.wait(0.5):
            if self._bar and not self.console.quiet:
                done = self._time.trained or 0.0
                with self._unheard():
                    self._bar.update(
                        self._task, description=self._text(), completed=done, left=self._left(),
                        visible=bool(self._text().strip()),  # what only reads a run has nothing to tell
                    )
            elif self._clock() - self._last_line >= QUIET_SECONDS:
                self._line()

            if self.file is not None and self._stage:
                self._write(self.state())

    def state(self) -> dict[str, Any]:
        """How far the job is, for another process.

        Returns:
            ``{stage, what, loss, trained: 0 to 1, seconds_left: of the job, stage_seconds_left}``; null: not known.
        """
        return {
            "stage": self._stage, "what": f"{self._what}{self._place()}", "loss": self._loss,
            "trained": self._time.trained, "seconds_left": self.seconds_left(),
            "stage_seconds_left": self._time.of_stage(),
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
        return f"{self._clock() - self._stage_start:.0f} s{''.join(f', {part}' for part in how_far(self.state()))}"


def how_far(state: Mapping[str, Any]) -> list[str]:
    """Per cent and time left in words, of what `Reporter.state` tells: those that are known yet."""
    share, left, of_stage = state["trained"], state["seconds_left"], state.get("stage_seconds_left")
    told = [] if share is None else [f"{share:.0%} trained".replace("%", " %")]
    if left is not None:
        return [*told, time_left(left)]
    return [*told, f"{time_left(of_stage)} to {state['stage']}"] if of_stage is not None else told
