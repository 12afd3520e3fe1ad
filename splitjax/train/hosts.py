"""The few things several processes must agree on. In a single process all of it is free."""

from __future__ import annotations

import jax
import numpy as np


def first() -> bool:
    """Whether this process does what only one may do: remove folders, write a record."""
    return jax.process_index() == 0


def meet(place: str) -> None:
    """Wait until every process is here.

    Args:
        place: the same name on all processes; a mismatch is an error instead of a hang.
    """
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(place)


def agree(flag: bool) -> bool:
    """The first process's flag, on all of them."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.int32(flag)))


def told_to_stop(step: int) -> bool:
    """Whether a process was sent SIGTERM; all processes hear it at the same step.

    JAX takes the signal itself once `jax.distributed` is initialised, and finds a step that every process reaches.
    """
    if jax.process_count() == 1:
        return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)
