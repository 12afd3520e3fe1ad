"""Who is still there: every process tells how far it is; who waits too long names the missing and ends."""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import jax

from splitjax.config import UserError

STUCK = 75
"""Exit code of a process that gave up waiting; launchers start the same command again."""
STEP_TIMEOUT, GRACE = "SPLITJAX_STEP_TIMEOUT", "SPLITJAX_GRACE"
_SECONDS = {STEP_TIMEOUT: 600.0, GRACE: 30.0}
_BEATS, _ENDS = "splitjax/beats/", "splitjax/ends/"
_last_words = threading.Lock()
LINGER = 10.0
"""Seconds that process 0 stays after it gave up, the others half of them: where one goes, its connections break the
collectives that others still wait in, and without process 0 JAX ends all, before they have said why."""
SILENCE = 60.0
"""Seconds without the end of a step after which those that wait look whether the others live."""
_ASK_SECONDS = 10.0
"""How long the process that holds the store may take to answer before it counts as missing."""


class Beat(NamedTuple):
    """What a process tells of itself: ticks that go on as long as it lives, and the steps it has dispatched."""

    ticks: int
    step: int


def seconds(name: str) -> float:
    """A time limit from the environment: SPLITJAX_STEP_TIMEOUT (600) or SPLITJAX_GRACE (30).

    Raises:
        UserError: not a positive number.
    """
    text = os.environ.get(name, "")
    try:
        value = float(text or _SECONDS[name])
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise UserError(f"'{text}' is not a positive number of seconds", where=name)
    return value


def give_up(why: str, code: int = STUCK) -> NoReturn:
    """Say why, show where every thread stands, and end this process hard: what it waits for will not come.

    The others are told, see `heard`.
    """
    _last_words.acquire()  # never released: a second thread that gives up has nothing to add
    print(f"splitjax: {why}", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(sys.stderr)
    sys.stderr.flush()
    if code == STUCK and jax.distributed.is_initialized():
        told = [f"{_ENDS}{jax.process_index()}", why]  # in a thread: the store may be what hangs
        threading.Thread(target=client().key_value_set, args=told, daemon=True).start()
        time.sleep(LINGER if jax.process_index() == 0 else LINGER / 2)
    os._exit(code)


def heard() -> str:
    """Why another process gave up, in its words; "" while none has."""
    return next((why for _, why in client().key_value_dir_get(_ENDS)), "")


def client() -> Any:
    """JAX's key-value store of the processes. JAX keeps it private; Orbax hands it out."""
    from orbax.checkpoint import multihost

    return multihost.get_jax_distributed_client()


def meet(place: str, turn: int) -> None:
    """Wait until every process is here; one that does not come within the step time-out is named, and this one ends.

    Args:
        place: in a few words, the same on all processes.
        turn: how many meetings there were before; the same on all processes.
    """
    limit = seconds(STEP_TIMEOUT)
    try:
        client().wait_at_barrier(f"splitjax/{turn}/{place}", int(1000 * limit))
    except jax.errors.JaxRuntimeError as error:
        absent = sorted({int(task) for task in re.findall(r"task:(\d+)", str(error).partition("timed out task")[2])})
        if not absent and "DEADLINE_EXCEEDED" not in str(error):
            raise
        give_up(f"waited {limit:.0f} s at '{place}' for {_awaited(absent, limit)}")


def _awaited(absent: list[int], limit: float) -> str:
    """Whom a meeting waited for: those that the barrier names, else (its answer came too late) those without a beat."""
    others = f"the other processes of {jax.process_count()}"
    if absent:
        return f"{_names(absent)} of {jax.process_count()}"
    silent = missing(min(20.0, limit / 5), silent_alone=True)
    return f"{others}: {silent}" if silent else others


def tell(beat: Beat) -> None:
    """Publish this process's beat."""
    client().key_value_set(f"{_BEATS}{jax.process_index()}", f"{beat.ticks} {beat.step}", allow_overwrite=True)


def beats() -> dict[int, Beat] | None:
    """The last beat of each process; None where the store does not answer."""
    found: list[dict[int, Beat]] = []

    def ask() -> None:
        rows = client().key_value_dir_get(_BEATS)
        found.append({int(key.rpartition("/")[2]): Beat(*map(int, value.split())) for key, value in rows})

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ASK_SECONDS)
    return found[0] if found else None


def missing(wait: float, sleep: Callable[[float], None] = time.sleep, *, silent_alone: bool = False) -> str:
    """Who keeps the others waiting, in words.

    Args:
        wait: seconds between two looks; a process that lives tells a beat in less.
        silent_alone: "" where all give a sign of life, and where none is told just now, by this process either.
    """
    before = beats()
    sleep(wait)
    after = beats()
    if before is None or after is None:
        return "process 0, which holds the processes together, does not answer"
    processes = range(jax.process_count())
    silent = _silent(before, after, processes)
    known = silent and jax.process_index() not in silent
    return accuse(before, after, processes) if known or not silent_alone else ""


def accuse(before: Mapping[int, Beat], after: Mapping[int, Beat], processes: range) -> str:
    """Who keeps the others waiting, by two looks at the beats."""
    if silent := _silent(before, after, processes):
        return f"{_names(silent)} of {len(processes)} {'gives' if len(silent) == 1 else 'give'} no sign of life"
    furthest = max(beat.step for beat in after.values())
    behind = [k for k in processes if after[k].step < furthest]
    if behind:
        steps = ", ".join(str(after[k].step) for k in behind)
        return f"{_names(behind)} of {len(processes)} behind at step {steps}, the others at {furthest}"
    return f"all {len(processes)} processes live and stand at step {furthest}"


def _silent(before: Mapping[int, Beat], after: Mapping[int, Beat], processes: range) -> list[int]:
    return [k for k in processes if k not in after or (k in before and before[k].ticks == after[k].ticks)]


def _names(processes: list[int]) -> str:
    return ("process " if len(processes) == 1 else "processes ") + ", ".join(map(str, processes))
