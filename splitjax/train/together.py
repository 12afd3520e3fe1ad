"""Phases of one shape side by side, as lanes of one stack: each with its own position, schedule, text and end.

On disk they are what they are one by one: every phase has its folder, its checkpoints and its log. A run that was
killed takes all of them up where all of them were saved, so what a lane has beside it does not depend on the kill.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from splitjax.config import UserError

from . import checkpoint, idle
from .guards.interrupt import Signals
from .guards.watchdog import Watchdog
from .lanes import Lanes
from .loop import CHECKPOINTS, Log, Run, Streams
from .metrics import PER_EXPERT, MetricsLog, log_path
from .phase import Mark, OnStep, Phase, StepReport
from .record import BEFORE, IDENTITY
from .saving import Kind, SavePolicy
from .stack import Stack, bare, concatenate, path_tokens, pick
from .starts import Start
from .step import Trainer
from .step_blocks import Pending, row_of
from .times import wall
from .working_stack import Dispatched, Whole

_NEVER = 1 << 62
"""Path tokens that no phase comes to: where the rate does not fall."""
OnRow = Callable[[str, dict[str, Any], int], None]
"""Hears of each row that is written: the folder's name, the row, and how many experts made the step."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the phases; see `run_stacked`.

    Attributes:
        done: it is over and measured: its lanes are kept, and nothing of it is read or made.
    """

    begin: Start
    stream: Streams
    phase: Phase
    folder: Path
    meta: dict[str, Any]
    done: bool = False

    @property
    def length(self) -> int:
        return self.phase.end - self.phase.start

    @property
    def marks(self) -> set[int]:
        """Where it is saved, by the clock that all share."""
        return {mark - self.phase.start for mark in (*self.phase.save_at, self.phase.end)}

    def saved(self) -> set[int]:
        """Where it can be taken up, by that clock; not beyond a mark that has been asked for since."""
        found = {tokens - self.phase.start for tokens in checkpoint.saved(self.folder / CHECKPOINTS)}
        before = min(self.marks - found, default=self.length)
        return {at for at in found if 0 <= at <= before}


def run_together(
    trainer: Trainer, parts: Sequence[Part], *, on_step: OnStep | None = None, on_row: OnRow | None = None
) -> list[Stack | UserError | None]:
    """Train phases of one shape, each from its start to its end.

    Each ends with the checkpoints and the log that it would have alone, up to rounding (where experts are dispatched
    one by one, bit for bit). Early stops, `train.keep_every` and meshes are for phases alone.

    Args:
        parts: in an order that does not depend on what is done.
        on_step: called after each step of all.

    Returns:
        The stack of each without moments, or why its end is refused; None of what is done.

    Raises:
        Interrupted: SIGINT or SIGTERM came; all are saved.
        UserError: as `run_stacked`.
    """
    with Signals() as signals, Watchdog() as dog, contextlib.ExitStack() as held:
        writes = held.enter_context(contextlib.closing(checkpoint.Background()))
        writers = {
            i: held.enter_context(checkpoint.Writer(part.folder / CHECKPOINTS, writes))
            for i, part in enumerate(parts) if not part.done
        }
        run = _Together(trainer, parts, writers, dog, on_row)
        with wall.spent("checkpoint"):
            run.begin()
        with wall.spent("steps"), _Logs(run) as logs:
            run.train(logs, signals, on_step)
        run.drop_temporary()
        return [run.outcome(i) for i in range(len(parts))]


class _Writers:
    """All writers as one."""

    def __init__(self, writers: dict[int, checkpoint.Writer]) -> None:
        self._writers = writers

    def check(self) -> None:
        for writer in self._writers.values():
            writer.check()

    def wait(self) -> None:
        for writer in self._writers.values():
            writer.wait()


class _SideBySide:
    """The streams of the parts as one; batch 0 is the first of each."""

    def __init__(self, rows: Sequence[tuple[Streams, int, int]]) -> None:
        """Args: rows: of each lane its stream, the expert in it, and its first batch."""
        self._rows = list(rows)

    def batch(self, t: int, rows: slice | None = None) -> np.ndarray:
        return np.concatenate([stream.pick([expert]).batch(first + t, rows) for stream, expert, first in self._rows])

    def pick(self, experts: Sequence[int]) -> _SideBySide:
        return _SideBySide([self._rows[k] for k in experts])

    def epochs(self, t: int) -> float:
        return max(stream.epochs(first + t) for stream, _, first in self._rows)


class _Together(Run):
    """The state of a run of several phases: its clock begins at 0, `ahead_K` says where each lane stands then."""

    def __init__(
        self, trainer: Trainer, parts: Sequence[Part], writers: dict[int, checkpoint.Writer], dog: Watchdog,
        on_row: OnRow | None,
    ) -> None:
        counts = [part.begin.experts for part in parts]
        firsts = np.cumsum([0, *counts]).tolist()
        self.parts, self.writers, self.on_row = parts, writers, on_row
        self.rows = [range(first, first + count) for first, count in zip(firsts, counts, strict=False)]
        step = trainer.train.batch_size * trainer.train.seq_len
        for part in parts:
            part.phase.check(step)
        lanes = [(part, k) for part, count in zip(parts, counts, strict=True) for k in range(count)]
        stream = _SideBySide([(p.stream, k, (p.phase.start - p.phase.origin) // step) for p, k in lanes])
        joint = _joint(lanes, trainer.train.clip)
        super().__init__(trainer, stream, joint, parts[0].folder, {}, cast(Any, _Writers(writers)), dog, None)
        self.marks, self.policy, self.rollback = set(), SavePolicy(trainer.train, ()), None
        self.halts = set[int]().union(*(part.marks for part in parts))
        self.experts, self.parked = len(lanes), list[tuple[Lanes, Stack]]()
        self.lanes = Lanes.full(self.experts)
        self.ahead_K = np.array([part.phase.start for part, _ in lanes], float)
        self.stops_K = self.phase.stops(self.experts)
        self.over_K = np.zeros(self.experts, bool)
        self.ends: dict[int, Stack] = {}
        recipe = trainer.train.model_dump(mode="json")
        self.metas: list[dict[str, Any]] = [{"phase": p.folder.name} | p.meta | {"train": recipe} for p in parts]

    def begin(self) -> None:
        """Take all up where all were saved, or begin them."""
        self.tokens, found, self.ends = self._stand()
        for i, (rows, part) in enumerate(zip(self.rows, self.parts, strict=True)):
            if part.done or i in self.ends:
                self.over_K[rows] = True
        self._assemble(found)
        if self.tokens == 0:
            new = (i for i in found if 0 in self.parts[i].marks and 0 not in self.parts[i].saved())
            self._save_due([(i, "keep") for i in new])

    def _stand(self) -> tuple[int, dict[int, Stack], dict[int, Stack]]:
        """The furthest point at which every phase that is not at its end can be taken up.

        Returns:
            The point, the states there, and the states of those at their end.
        """
        saved = {i: part.saved() for i, part in enumerate(self.parts) if not part.done}
        while True:
            going = [saved[i] for i in saved if self.parts[i].length not in saved[i]]
            at = max(set.intersection(*going), default=0) if going else 0
            found, ends = dict[int, Stack](), dict[int, Stack]()
            for i, points in saved.items():
                length = self.parts[i].length
                where = length if length in points else at
                stack = self._restore(i, where) if where in points else self._first(i)
                if stack is None:
                    points.discard(where)
                    break
                if where == length and length in points:
                    ends[i] = bare(stack)
                else:
                    found[i] = stack
            else:
                return at, found, ends

    def _first(self, i: int) -> Stack:
        stack, lineage = self.parts[i].begin()
        seen_K, start = path_tokens(stack), self.parts[i].phase.start
        if (seen_K != start).any():
            raise ValueError(f"phase begins at {start} path tokens, its first state at {seen_K}")
        self.metas[i]["lineage"] = (self.parts[i].meta.get("lineage") or {}) | lineage
        self.metas[i][BEFORE] = np.array(stack.skipped_K).tolist()
        return stack

    def _restore(self, i: int, at: int) -> Stack | None:
        """Its state there; None if the checkpoint is damaged."""
        part = self.parts[i]
        folder = checkpoint.at(part.folder / CHECKPOINTS, part.phase.start + at)
        sound = checkpoint.restore_sound(folder, self.metas[i].get(IDENTITY), self.trainer.placement.leaf)
        if sound is None:
            return None
        stack, meta = sound
        self.metas[i]["lineage"] = meta.get("lineage")
        self.metas[i] |= {BEFORE: meta[BEFORE]} if BEFORE in meta else {}
        return stack

    def _assemble(self, going: dict[int, Stack]) -> None:
        """The working stack; lanes that are over hold whatever another holds."""
        if not going:
            return
        if self.trainer.loop_form == "dispatch":
            self.working = Dispatched(self.trainer, *going.values())
            self.place = {k: n for n, k in enumerate(k for i in going for k in self.rows[i])}
            return
        some = next(iter(going.values()))
        stacks = [going.get(i) or pick(some, [0] * len(rows)) for i, rows in enumerate(self.rows)]
        self.working = Whole(self.trainer, concatenate(stacks))

    def last(self) -> int:
        """Where the last lane ends that is not over."""
        return int(self.stops_K[~self.over_K].max(initial=0))

    def _active(self, experts: list[int]) -> np.ndarray:
        return (self.tokens < self.stops_K[experts]) & ~self.over_K[experts]

    def _repack(self, log: Log) -> None:
        """Dispatched lanes that have ended cost nothing; in one program they are parked, by the plan of all lanes."""
        if not isinstance(self.working, Dispatched):
            super()._repack(log)
            return
        going = np.flatnonzero(self._active(list(range(self.experts)))).tolist()
        if going != self.lanes.experts or self.tokens == 0:
            self.lanes = Lanes((tuple(going),))
            self.working.choose([self.place[k] for k in going])

    def _halts(self, tokens: int) -> bool:
        return tokens in self.halts

    def _due(self, began: int, stopping: bool) -> list[tuple[int, Kind]]:
        kind = super()._due(began, stopping)
        due: list[tuple[int, Kind]] = []
        for i, part in enumerate(self.parts):
            if self.over_K[self.rows[i][0]] or began >= part.length:
                continue
            if self.tokens in part.marks:
                due.append((i, "keep"))
            elif kind == "temporary":
                due.append((i, "temporary"))
        return due

    def _save_due(self, due: list[tuple[int, Kind]]) -> None:
        with wall.spent("checkpoint"):
            for i, kind in due:
                part, stack = self.parts[i], self._rows_of(i)
                if self.tokens == part.length:
                    self.ends[i] = bare(stack)
                    stack = self.ends[i] if part.phase.closed else stack
                at = part.phase.start + self.tokens
                self.writers[i].save(at, stack, self.metas[i] | {"tokens": at}, temporary=kind == "temporary")
            if any(kind == "temporary" for _, kind in due):
                self.writer.wait()  # all of them, before any of those before it goes
                self.drop_temporary()
        self.dog.beat()

    def _rows_of(self, i: int) -> Stack:
        if isinstance(self.working, Dispatched):
            return self.working.rows([self.place[k] for k in self.rows[i]])
        return self.working.rows([self.lanes.experts.index(k) for k in self.rows[i]])

    def drop_temporary(self) -> None:
        """Remove the temporary checkpoints that newer ones of all phases have made useless."""
        for i, writer in self.writers.items():
            writer.drop_temporary(self.parts[i].phase.start + min(self.tokens, self.parts[i].length))

    def _tell(self, step: Pending, speed: float, log: Log, on_step: OnStep | None) -> None:
        count, tokens = int(step.active_K.sum()), step.marks[-1]
        row, loss_K, skipped_K = row_of(step, self.experts)  # waits for the step
        self.dog.beat()
        told = StepReport(tokens, 0, self.last(), count, loss_K, skipped_K, speed, row)
        figures = (on_step(told) if on_step else None) or {}
        made = {expert for lane, expert in enumerate(step.lanes.experts) if step.active_K[lane]}
        for i, (part, rows) in enumerate(zip(self.parts, self.rows, strict=True)):
            if rows[0] in made:
                own = {name: row[name][rows.start : rows.stop] for name in PER_EXPERT}
                at = (tokens + part.phase.start - part.phase.origin) // self.step_tokens
                own = {"tokens": tokens + part.phase.start, **own, "idle": 0}
                own |= {"tokens_per_s": round(speed * len(rows) / count, 1), "epoch": round(part.stream.epochs(at), 4)}
                log.write({"part": i} | own | figures)
                if self.on_row:
                    self.on_row(part.folder.name, own | figures, len(rows))

    def outcome(self, i: int) -> Stack | UserError | None:
        """What a phase ended with."""
        part = self.parts[i]
        if part.done:
            return None
        try:
            idle.refuse(self.trainer, self.ends[i], part.phase, self.metas[i], part.folder)
        except UserError as refusal:
            return refusal
        return self.ends[i]


class _Logs:
    """The log of every phase; a row says whose it is. What happens to lanes is told by none."""

    def __init__(self, run: _Together) -> None:
        self._held, self._logs = contextlib.ExitStack(), dict[int, MetricsLog]()
        for i, part in enumerate(run.parts):
            if not part.done:
                at = part.length if run.over_K[run.rows[i][0]] else min(run.tokens, part.length)
                head = {"experts": len(run.rows[i]), "phase": part.folder.name, "step_tokens": run.step_tokens,
                        "start": part.phase.start}
                log = MetricsLog(log_path(part.folder), part.phase.start + at, head)
                self._logs[i] = self._held.enter_context(log)

    def write(self, row: dict[str, Any]) -> None:
        if "part" in row:
            self._logs[row.pop("part")].write(row)

    def flush(self) -> None:
        for log in self._logs.values():
            log.flush()

    def __enter__(self) -> _Logs:
        return self

    def __exit__(self, *error: Any) -> None:
        self._held.close()


def _joint(lanes: Sequence[tuple[Part, int]], clip: float) -> Phase:
    """All lanes as one phase that begins at 0; its decays stay where they are on each lane's own path."""
    one = [part.phase.only(k, part.begin.experts) for part, k in lanes]
    return Phase(
        0, tuple(phase.end - phase.start for phase in one),
        decay_from=tuple(_mark(phase.decay_from) for phase in one),
        decay_to=tuple(_mark(phase.decay_to) for phase in one),
        rate=tuple(phase.rate[0] if phase.rate else 1.0 for phase in one),
        clip=tuple(phase.clip[0] if phase.clip else clip for phase in one),
    )


def _mark(tokens: Mark | None) -> int:
    return _NEVER if tokens is None else int(np.max(tokens))
