"""The update of one expert by AdamW or Muon; the step maps it over the stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from splitjax.config import Train

Tree = Any

_MOMENTUM = 0.95
_RMS = 0.2
"""Root mean square of Adam's direction, as a rule (Liu et al., "Muon is scalable for LLM training", 2025)."""


def second_moments(train: Train, groups: Tree, params: Tree) -> Tree:
    """Zeros for the leaves that have a second moment: under Muon not the matrices in the blocks."""
    return jax.tree.map(jnp.zeros_like, _part(params, groups, lambda group: not _by_muon(train, group)))


def first_moments(train: Train, params: Tree) -> Tree:
    """Zeros like params, in the type in which first moments are kept."""
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf, train.moment_dtype), params)


def update(
    train: Train, groups: Tree, params: Tree, mu: Tree, nu: Tree, steps: Array, grads: Tree, rate: Array
) -> tuple[Tree, Tree, Tree]:
    """One update of one expert's parameters.

    The step of a leaf is rate · group.rate · direction, plus decoupled decay rate · weight_decay where the group
    decays. The decay is not scaled by group.rate: wider models keep the same time scale of forgetting.

    Args:
        groups: tree like params of groups with `.rate` (multiplier), `.decay` and `.hidden` (bool).
        mu: first moments, or Muon's momentum, in the type in which they are kept (`train.moment_dtype`); the
            arithmetic is float32.
        nu: second moments (see `second_moments`).
        steps: updates applied so far.
        rate: scheduled learning rate.

    Returns:
        (params, mu, nu) after the update.
    """
    kept, mu = jax.tree.map(jnp.result_type, mu), optax.tree.cast(mu, jnp.float32)
    adam, rest = optax.scale_by_adam(*train.betas), _splitter(train, groups)
    direction, moments = adam.update(rest(grads), optax.ScaleByAdamState(steps, rest(mu), nu))
    mu_after = moments.mu
    if train.optimizer == "muon":
        hidden = _splitter(train, groups, by_muon=True)
        matrices, momentum = _muon(hidden(groups), hidden(mu), steps, hidden(grads))
        direction, mu_after = _joined(direction, matrices), _joined(mu_after, momentum)

    def step(leaf: Array, way: Array, group: Any) -> Array:
        decay = train.weight_decay * leaf if group.decay else 0.0
        return leaf - rate * (group.rate * way + decay)

    mu_after = jax.tree.map(lambda leaf, dtype: leaf.astype(dtype), mu_after, kept)
    return jax.tree.map(step, params, direction, groups), mu_after, moments.nu


def _muon(groups: Tree, mu: Tree, steps: Array, grads: Tree) -> tuple[Tree, Tree]:
    """Directions and momentum of the matrices; leading axes (layers) are so many matrices.

    A direction is the momentum made orthogonal, with the spectral norm ∝ √(fan-out / fan-in) that moves activations of
    every width alike (Yang et al., "A spectral condition for feature learning", 2023). Its size is such that at
    base_width a square matrix moves as far as under Adam: one learning_rate suits both rules.
    """
    axes = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)
    rule = optax.contrib.scale_by_muon(
        beta=_MOMENTUM, weight_dimension_numbers=jax.tree.map(lambda _: axes, grads)
    )
    state = rule.init(grads)._replace(count=steps, mu=mu)
    ways, after = rule.update(grads, state)

    def sized(way: Array, group: Any) -> Array:
        # `update` multiplies by group.rate = base_width / fan-in: the root of it is to stay.
        return way * (_RMS * (way.shape[-1] / group.rate) ** 0.5)

    return jax.tree.map(sized, ways, groups), after.mu


def _by_muon(train: Train, group: Any) -> bool:
    return train.optimizer == "muon" and group.hidden


def _splitter(train: Train, groups: Tree, by_muon: bool = False) -> Callable[[Tree], Tree]:
    """Takes out of a tree like params the leaves that one rule updates."""
    return lambda tree: _part(tree, groups, lambda group: _by_muon(train, group) == by_muon)


def _part(tree: Tree, groups: Tree, wanted: Callable[[Any], bool]) -> Tree:
    part: dict[str, Any] = {}
    for name, group in groups.items():
        if not isinstance(group, dict):
            if wanted(group):
                part[name] = tree[name]
        elif inner := _part(tree[name], group, wanted):
            part[name] = inner
    return part


def _joined(one: Tree, other: Tree) -> Tree:
    """Two parts of a tree as one."""
    both = {name: _joined(one[name], other[name]) for name in one.keys() & other.keys()}
    return {**one, **other, **both}
