"""Several processes as one: who they are is read from the environment, before JAX is used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from splitjax.config import UserError

COORDINATOR, PROCESSES, PROCESS = "SPLITJAX_COORDINATOR", "SPLITJAX_PROCESSES", "SPLITJAX_PROCESS"
AUTO, TIMEOUT = "SPLITJAX_DISTRIBUTED", "SPLITJAX_JOIN_TIMEOUT"
_HEARTBEAT = 200
"""Seconds without a sign of life after which JAX ends all processes: more than `beats` needs to name the one (JAX's own
100 may be over after 50)."""
_PATIENCE = 1800
"""Seconds to wait for the others: JAX's own 300 are short for a pod whose images are still on their way."""


def join_cluster() -> bool:
    """Become one process of several, where the environment says so; call it before anything touches a device.

    SPLITJAX_COORDINATOR (host:port of process 0), SPLITJAX_PROCESSES and SPLITJAX_PROCESS name the cluster;
    SPLITJAX_DISTRIBUTED=auto lets JAX find it (Slurm, TPU pods, GKE, MPI). SPLITJAX_JOIN_TIMEOUT is how many seconds
    to wait for the others (1800). Without any of them, or with one process, nothing happens; a second call neither.

    Returns:
        Whether this is one of several.

    Raises:
        UserError: the variables do not fit together, or the others did not come in time.
    """
    found = _cluster(os.environ)
    if found is None:
        return False
    import jax

    from . import beats

    if jax.distributed.is_initialized():
        return True
    beats.tick()  # a time limit that is no number is refused before anybody waits
    patience = _whole(os.environ, TIMEOUT, low=1) if TIMEOUT in os.environ else _PATIENCE
    try:
        jax.distributed.initialize(
            **found, initialization_timeout=patience, heartbeat_timeout_seconds=_HEARTBEAT
        )
    except (RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        where = f"{COORDINATOR}={found['coordinator_address']}" if found else f"{AUTO}=auto"
        raise UserError(f"could not join the other processes ({first[:200]})", where=where,
                        mend=f"Look whether all of them run; {TIMEOUT} is the seconds to wait.") from None  # fmt: skip
    beats.start(found.get("process_id"), found.get("num_processes"))
    return True


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
    if ":" not in environment[COORDINATOR]:
        raise UserError(f"'{environment[COORDINATOR]}' is not host:port", where=COORDINATOR)
    if count == 1:
        return None
    return {"coordinator_address": environment[COORDINATOR], "num_processes": count, "process_id": index}


def _whole(environment: Mapping[str, str], name: str, low: int) -> int:
    text = environment[name]
    if not text.isdecimal() or int(text) < low:
        raise UserError(f"'{text}' is not a whole number from {low}", where=name)
    return int(text)
