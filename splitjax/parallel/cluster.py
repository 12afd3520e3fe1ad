"""Several processes as one: who they are is read from the environment, before JAX is used."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from splitjax.config import UserError

from . import beats
from .gathering import Guest, Host
from .waiting import AwayError, Clock, Who

T = TypeVar("T")

COORDINATOR, PROCESSES, PROCESS = "SPLITJAX_COORDINATOR", "SPLITJAX_PROCESSES", "SPLITJAX_PROCESS"
AUTO, TIMEOUT = "SPLITJAX_DISTRIBUTED", "SPLITJAX_JOIN_TIMEOUT"
_HEARTBEAT = 200
"""Seconds without a sign of life after which JAX ends all processes: more than `beats` needs to name the one (JAX's own
100 may be over after 50)."""
_PATIENCE = 1800
"""Seconds to wait for the others: JAX's own 300 are short for a pod whose images are still on their way."""
_JAX_SECONDS, _SLACK = 300, 120
"""Seconds that JAX may take once all are here, and how much later its own limit is, at which it aborts."""
_LOOK = 0.1


def join_cluster() -> bool:
    """Become one process of several, where the environment says so; call it before anything touches a device.

    SPLITJAX_COORDINATOR (host:port of process 0), SPLITJAX_PROCESSES and SPLITJAX_PROCESS name the cluster;
    SPLITJAX_DISTRIBUTED=auto lets JAX find it (Slurm, TPU pods, GKE, MPI). SPLITJAX_JOIN_TIMEOUT is how many seconds
    to wait for the others (1800); every 10 s it is said who has not come. Without any of them, or with one process,
    nothing happens; a second call neither. Signals are heard while it waits.

    Returns:
        Whether this is one of several.

    Raises:
        UserError: the variables do not fit together, or JAX refuses them.
        AwayError: the others did not come in time, or went away; its `exit_code` is 75.
    """
    found = _cluster(os.environ)
    if found is None:
        return False
    import jax

    if jax.distributed.is_initialized():
        return True
    beats.tick()  # a time limit that is no number is refused before anybody waits
    clock = Clock(_whole(os.environ, TIMEOUT, low=1) if TIMEOUT in os.environ else _PATIENCE)
    if not found:
        found = _found_by_jax(clock)
    side = _gathered(found, clock)
    _initialize(found, side)
    beats.start(found.get("process_id"), found.get("num_processes"))
    return True


def _found_by_jax(clock: Clock) -> dict[str, Any]:
    """Arguments of jax.distributed.initialize as JAX finds them; it may wait for a name to be known."""
    from jax._src.clusters import ClusterEnv  # JAX hands out what it has found only once all have come

    def find() -> tuple[Any, ...]:
        return ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, int(clock.limit) + _SLACK)

    try:
        told = _beside(find, lambda: clock.look(lambda: "JAX to find process 0"))
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise _refused(error, f"{AUTO}=auto") from None
    names = ("coordinator_address", "num_processes", "process_id", "local_device_ids")
    if None in told[:3]:
        raise UserError("JAX finds no cluster here", where=f"{AUTO}=auto",
                        mend=f"Set {COORDINATOR}, {PROCESSES} and {PROCESS} instead.")
    return dict(zip(names, told, strict=True))


def _gathered(found: Mapping[str, Any], clock: Clock) -> Host | Guest | None:
    """All processes have come, and hold on to each other until JAX does; None: there is one alone."""
    host, _, port = found["coordinator_address"].rpartition(":")
    who = Who(host.strip("[]"), int(port), found["num_processes"], found["process_id"])
    if who.processes == 1:
        return None
    side = Guest(who) if who.process else Host(who)
    try:
        side.gather(clock)
    except BaseException as error:
        side.end(str(error) or f"process {who.process} of {who.processes} was told to stop at the start")
        raise
    return side


def _initialize(found: Mapping[str, Any], side: Host | Guest | None) -> None:
    """JAX's own start, in seconds now that all are here; where somebody goes away it would wait for good."""
    import jax

    clock = Clock(_JAX_SECONDS)

    def look() -> None:
        if side is not None and (why := side.gone()):
            raise AwayError(why)
        clock.look(lambda: "JAX to hold the processes together")

    def initialize() -> None:
        jax.distributed.initialize(
            **found, initialization_timeout=_JAX_SECONDS + _SLACK, heartbeat_timeout_seconds=_HEARTBEAT
        )

    try:
        _beside(initialize, look)
    except (RuntimeError, ValueError) as error:
        refused = _refused(error, f"{COORDINATOR}={found['coordinator_address']}")
        if side is not None:
            side.end(str(refused))
        raise refused from None
    except BaseException as error:  # told to stop, or somebody is gone
        why = str(error) or "told to stop while the processes joined; the same command goes on from here"
        if side is not None:
            side.end(why)
        # At an orderly end Python would wait for JAX, which waits for the others.
        beats.quit_alone(why, getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1))
    if side is not None:
        side.ready()


def _beside(call: Callable[[], T], look: Callable[[], None]) -> T:
    """A call that is deaf to signals, in a thread; this one hears them, and looks around."""
    ended: list[tuple[T | None, Exception | None]] = []

    def run() -> None:
        try:
            ended.append((call(), None))
        except Exception as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK)
        look()
    made, error = ended[0]
    if error is not None:
        raise error
    return cast(T, made)


def _refused(error: Exception, where: str) -> UserError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"could not join the other processes ({first[:200]})", where=where,
                     mend=f"Look whether all of them run; {TIMEOUT} is the seconds to wait.")


def _cluster(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Arguments of jax.distributed.initialize, or None for a process alone."""
    names = (COORDINATOR, PROCESSES, PROCESS)
    given = [name for name in names if environment.get(name)]
    auto = environment.get(AUTO)
    if auto not in (None, "", "auto"):
        raise UserError(f"'{auto}' is not 'auto'", where=AUTO)
    if not given:
        return {} if auto else None
    if len(given) < len(names):
        missing = next(name for name in names if name not in given)
        raise UserError(f"{given[0]} is set and {missing} is not", where=missing, mend=f"Set {', '.join(names)}.")
    count = _whole(environment, PROCESSES, low=1)
    index = _whole(environment, PROCESS, low=0)
    if index >= count:
        raise UserError(f"process {index} of {count}", where=PROCESS, mend=f"Count them from 0 to {count - 1}.")
    host, _, port = environment[COORDINATOR].rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UserError(f"'{environment[COORDINATOR]}' is not host:port", where=COORDINATOR)
    if count == 1:
        return None
    return {"coordinator_address": environment[COORDINATOR], "num_processes": count, "process_id": index}


def _whole(environment: Mapping[str, str], name: str, low: int) -> int:
    text = environment[name]
    if not text.isdecimal() or int(text) < low:
        raise UserError(f"'{text}' is not a whole number from {low}", where=name)
    return int(text)
