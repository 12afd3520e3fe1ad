"""The few things several processes must agree on. In a single process all of it is free."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from splitjax.config import UserError

from . import beats

T = TypeVar("T")

PATIENCE = 24 * 3600.0
"""Seconds that a process waits for what the first one makes alone: preparing a corpus may take hours. A first process
that dies is noticed within JAX's heartbeat (200 s), whatever this says."""
_LOOK_EVERY_MS = 2000

_turns, _meetings = itertools.count(), itertools.count()
_alone = False
_shared: list[UserError] = []


def several() -> bool:
    """Whether this is one process of several. Alone it does not open the devices: they may belong to others."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def first() -> bool:
    """Whether this process does what only one may do: remove folders, write a record."""
    return not several() or jax.process_index() == 0


def meet(place: str) -> None:
    """Wait until every process is here; those that do not come in time are named, see `beats.meet`.

    Args:
        place: the same name on all processes.
    """
    if several():
        beats.meet(place, next(_meetings))


def agree(flag: bool) -> bool:
    """The first process's flag, on all of them."""
    if not several():
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.int32(flag)))


def from_first(make: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """What the first process makes, on every process: the others do not make it, they wait.

    It goes over JAX's coordination service and not through the devices, whose collectives give up (or hang) when one
    side comes hours later. All processes must call it in the same order. Inside `make` it is a plain call.

    Args:
        make: its result must be a JSON value; every process gets it as JSON brings it back.
        patience: seconds that the others wait.

    Raises:
        UserError: `make` raised it (on all processes; only on the first it is still to be told, see `told`), or the
            first process took too long.
    """
    global _alone
    if _alone or not several():
        return make()
    key = f"splitjax/from_first/{next(_turns)}"
    if not first():
        return _heard(key, patience)
    message: dict[str, Any] = {"failed": True}
    _alone = True
    try:
        made = make()
        message = {"made": made}
        return json.loads(json.dumps(made))
    except UserError as error:
        message = {"error": {"what": error.what, "where": error.where, "mend": error.mend}}
        _shared.append(error)
        raise
    finally:
        _alone = False
        beats.client().key_value_set(key, json.dumps(message))


def told(error: UserError) -> bool:
    """Whether the first process tells this error: it came from there."""
    return isinstance(error, _FromFirstError)


def shared(error: UserError) -> bool:
    """Whether all processes end with this error, in order: it is the first one's, who told the others, or came from
    there."""
    return any(error is each for each in _shared)


def told_to_stop(step: int) -> bool:
    """Whether a process was sent SIGTERM; all processes hear it at the same step.

    JAX takes the signal itself once `jax.distributed` is initialised, and finds a step that every process reaches.
    """
    if not several():
        return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)


class _FromFirstError(UserError):
    """The first process's mistake, on another process."""


def _heard(key: str, patience: float) -> Any:
    until = time.monotonic() + patience
    while True:
        try:
            # In short waits, so that Ctrl-C is heard between them.
            message = json.loads(beats.client().blocking_key_value_get(key, _LOOK_EVERY_MS))
            break
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
            if time.monotonic() > until:
                raise UserError(f"waited {patience:.0f} s for process 0", mend="Look what it does.") from None
    if "error" in message:
        from_there = _FromFirstError(**message["error"])
        _shared.append(from_there)
        raise from_there
    if "failed" in message:
        # Its error ends this process too, with the same code, once it has looked whether another process is at fault.
        time.sleep(5 * beats.tick() + 3)
        raise _FromFirstError("process 0 failed; its message stands there")
    return message["made"]
