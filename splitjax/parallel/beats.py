"""Who is still there: every process tells how far it is; who waits too long names the missing and ends."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import jax

from splitjax.config import UserError

STUCK = 75
"""Exit code of a process that gave up waiting; launchers start the same command again."""
STEP_TIMEOUT, GRACE = "SPLITJAX_STEP_TIMEOUT", "SPLITJAX_GRACE"
_SECONDS = {STEP_TIMEOUT: 600.0, GRACE: 30.0}
_BEATS, _ENDS = "splitjax/beats/", "splitjax/ends/"
LINGER = 10.0
"""Seconds that process 0 stays at most after it gave up, the others half of them: where one goes, its connections break
the collectives that others still wait in, and without process 0 JAX ends all, before they have said why."""
SILENCE = 60.0
"""Seconds without the end of a step after which those that wait look whether the others live."""
_ASK_SECONDS = 10.0
"""How long the process that holds the store may take to answer before it counts as missing."""
_LOOKS = 20
"""Beats, and looks of a watchdog, in a step time-out."""
_last_words = threading.Lock()
_step = 0


class Beat(NamedTuple):
    """What a process tells of itself: ticks that go on as long as it lives, and the steps it has dispatched."""

    ticks: int
    step: int


class Me(NamedTuple):
    """This process among the others."""

    process: int
    processes: int


_me: Me | None = None
"""Remembered from `start`: JAX opens the devices to tell, and they may be what failed."""


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


def tick(limit: float | None = None) -> float:
    """Seconds between two beats, or two looks, under a step time-out (None: SPLITJAX_STEP_TIMEOUT)."""
    return min(5.0, (seconds(STEP_TIMEOUT) if limit is None else limit) / _LOOKS)


def start(index: int | None = None, count: int | None = None) -> None:
    """Tell beats from now on, and end where another process has ended. A second call does nothing.

    Until the end of the process, whatever it does: one that is silent is dead or frozen. In a thread of its own, for
    where the process that holds the store hangs, this thread hangs with it.

    Args:
        index: of this process, and how many there are; None: JAX opens the devices to tell.
    """
    global _me
    if _me is None:
        _me = Me(jax.process_index() if index is None else index, jax.process_count() if count is None else count)
        client()  # its import is not for a thread beside others
        stop = threading.Event()
        thread = threading.Thread(target=_tell_and_hear, args=(tick(), stop), daemon=True)
        thread.start()

        def end() -> None:
            try:
                jax.distributed.shutdown()  # waits for the others: until they come this one lives, and hears of errors
            finally:
                stop.set()
                thread.join(2.0)

        atexit.register(end)


def dispatched(step: int) -> None:
    """The devices were given a step: the beats tell how far this process is."""
    global _step
    _step = step


def _tell_and_hear(wait: float, stop: threading.Event) -> None:
    for ticks in itertools.count(1):
        # The next call may reach the store again; ValueError: JAX has let go of it, at the end.
        with contextlib.suppress(jax.errors.JaxRuntimeError, ValueError):
            tell(Beat(ticks, _step))
            if told := heard():
                _end(*told, linger=LINGER if _among().process == 0 else 0.0)
        if stop.wait(wait):
            return


def give_up(why: str, code: int = STUCK) -> NoReturn:
    """Say why, show where every thread stands, and end this process hard: what it waits for will not come.

    The others are told, and end the same way.
    """
    _end(code, why, stacks=True, linger=_linger())


def leave(why: str, code: int) -> NoReturn:
    """End this process hard after an error of its own, which it has told: at an orderly end JAX would wait for the
    others, and they for this one. They end with the same code."""
    _end(code, f"process {_among().process} ended: {why}", say=False, linger=_linger())


def quit_alone(why: str, code: int) -> NoReturn:
    """Say why and end this process hard, before the others hear of it by `give_up`."""
    _end(code, why)


def joined() -> bool:
    """Whether this is one of several processes that hear of each other; opens no device."""
    return _me is not None and jax.distributed.is_initialized()


def _linger() -> float:
    return LINGER if joined() and _among().process == 0 else LINGER / 2


def _end(code: int, why: str, *, say: bool = True, stacks: bool = False, linger: float = 0.0) -> NoReturn:
    _last_words.acquire()  # never released: a second thread that ends has nothing to add
    try:
        with contextlib.suppress(Exception):  # nobody may read what is said; the others must hear it all the same
            if say:
                print(f"splitjax: {why}", file=sys.stderr, flush=True)
            if stacks:
                faulthandler.dump_traceback(sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if joined():
            done = threading.Event()  # the store may be what hangs
            threading.Thread(target=_publish, args=(code, why, done), daemon=True).start()
            done.wait(linger or 1.0)
    finally:  # a second Ctrl-C may come
        os._exit(code)


def _publish(code: int, why: str, done: threading.Event) -> None:
    """Tell the others, and wait until all have ended."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client().key_value_set(f"{_ENDS}{_among().process}", f"{code} {why}", allow_overwrite=True)
        while len(client().key_value_dir_get(_ENDS)) < len(client().key_value_dir_get(_BEATS)):
            time.sleep(0.2)
        time.sleep(0.2 if _among().process else 1.0)  # the others leave before the store
        done.set()


def heard() -> tuple[int, str] | None:
    """(exit code, why) of another process that has ended; None while none has.

    An error of a process's own goes before one of those that lost another: that may have come of it.
    """
    rows = [row.partition(" ") for key, row in client().key_value_dir_get(_ENDS) if key != f"{_ENDS}{_among().process}"]
    ends = [(int(code), why) for code, _, why in rows]
    return min(ends, key=lambda end: end[0] == STUCK, default=None)


def lost(error: BaseException) -> str:
    """Who is gone, where an error came of that: out of a program on the devices, while another process is silent.

    Returns:
        It in words; "" where the error is this process's own.
    """
    kinds = (jax.errors.JaxRuntimeError, ValueError)  # JAX raises the latter where it dispatches the short way
    of_devices = isinstance(error, kinds) and re.match(r"[A-Z]+(_[A-Z]+)*: ", str(error))
    if not of_devices or not jax.distributed.is_initialized():
        return ""
    who = missing(4 * tick(), silent_alone=True)
    return f"{who} ({str(error).splitlines()[0]})" if who else ""


def _among() -> Me:
    return _me or Me(jax.process_index(), jax.process_count())


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
    others = f"the other processes of {_among().processes}"
    if absent:
        return f"{names(absent)} of {_among().processes}"
    silent = missing(min(20.0, limit / 5), silent_alone=True)
    return f"{others}: {silent}" if silent else others


def tell(beat: Beat) -> None:
    """Publish this process's beat."""
    client().key_value_set(f"{_BEATS}{_among().process}", f"{beat.ticks} {beat.step}", allow_overwrite=True)


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
    me = _among()
    processes = range(me.processes)
    silent = _silent(before, after, processes)
    known = silent and me.process not in silent
    return accuse(before, after, processes) if known or not silent_alone else ""


def accuse(before: Mapping[int, Beat], after: Mapping[int, Beat], processes: range) -> str:
    """Who keeps the others waiting, by two looks at the beats."""
    if silent := _silent(before, after, processes):
        return f"{names(silent)} of {len(processes)} {'gives' if len(silent) == 1 else 'give'} no sign of life"
    furthest = max(beat.step for beat in after.values())
    behind = [k for k in processes if after[k].step < furthest]
    if behind:
        steps = ", ".join(str(after[k].step) for k in behind)
        return f"{names(behind)} of {len(processes)} behind at step {steps}, the others at {furthest}"
    return f"all {len(processes)} processes live and stand at step {furthest}"


def _silent(before: Mapping[int, Beat], after: Mapping[int, Beat], processes: range) -> list[int]:
    return [k for k in processes if k not in after or (k in before and before[k].ticks == after[k].ticks)]


def names(processes: Sequence[int]) -> str:
    """ "process 1", "processes 1, 2"."""
    return ("process " if len(processes) == 1 else "processes ") + ", ".join(map(str, processes))
