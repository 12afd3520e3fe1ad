"""Gradient spikes: a norm far above an expert's own running mean is not believed."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from ..stack import Stack

SETTLED_AFTER = 20
"""Updates before which a norm is never called a spike: the first ones fall steeply."""
MEMORY = 50
"""Steps over which the running mean forgets."""


def spike_limit(spike: float | None, expert: Stack) -> Array:
    """Largest gradient norm that still makes an update of one expert (no expert axis)."""
    if spike is None:
        return jnp.float32(jnp.inf)
    return jnp.where(expert.steps_K < SETTLED_AFTER, jnp.inf, spike * expert.norm_K)


def running_mean(expert: Stack, norm: Array) -> Array:
    """The mean norm with one more; give it the norm cut to the limit, so that a lasting change is learned in time."""
    weight = jnp.maximum(1 / (expert.steps_K + 1), 1 / MEMORY)
    return expert.norm_K + weight * (norm - expert.norm_K)
