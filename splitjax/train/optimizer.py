"""AdamW of one expert; the step maps it over the stack."""

from __future__ import annotations

from typing import Any

import jax
import optax
from jax import Array

from splitjax.config import Train

Tree = Any


def adamw(
    train: Train, groups: Tree, params: Tree, mu: Tree, nu: Tree, steps: Array, grads: Tree, rate: Array
) -> tuple[Tree, Tree, Tree]:
    """One update of one expert's parameters.

    The step of a leaf is rate · group.rate · Adam direction, plus decoupled decay rate · weight_decay where the group
    decays. The decay is not scaled by group.rate: wider models keep the same time scale of forgetting.

    Args:
        groups: tree like params of groups with `.rate` (multiplier) and `.decay` (bool).
        steps: updates applied so far.
        rate: scheduled learning rate.

    Returns:
        (params, mu, nu) after the update.
    """
    adam = optax.scale_by_adam(*train.betas)
    direction, moments = adam.update(grads, optax.ScaleByAdamState(steps, mu, nu))

    def step(leaf: Array, way: Array, group: Any) -> Array:
        decay = train.weight_decay * leaf if group.decay else 0.0
        return leaf - rate * (group.rate * way + decay)

    return jax.tree.map(step, params, direction, groups), moments.mu, moments.nu
