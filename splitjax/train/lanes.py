"""Which experts the step works on. Experts that are done are taken out when too many lanes stand idle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from .stack import Stack

IDLE_SHARE = 0.25
"""Repack above this share of idle lanes: a repack costs a compile, an idle lane its share of every step."""

Groups = tuple[tuple[int, ...], ...]
"""Expert ids by group of devices, as many in each."""


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The experts of a working stack, in its order.

    Experts never leave their group of devices, so a repack moves nothing across the expert axis.
    """

    groups: Groups

    @staticmethod
    def full(experts: int, groups: int = 1) -> Lanes:
        """All K experts, in blocks, as a sharding lays them out."""
        return Lanes(tuple(tuple(block.tolist()) for block in np.split(np.arange(experts), groups)))

    @property
    def experts(self) -> list[int]:
        """Expert of each lane."""
        return [expert for group in self.groups for expert in group]

    def without(self, done: frozenset[int]) -> Lanes:
        """Fewer lanes if more than a quarter would be idle, else these.

        Every group keeps as many lanes as the busiest needs; what is left over is filled with finished experts.
        """
        idle = sum(expert in done for expert in self.experts)
        width = max(1, max(sum(expert not in done for expert in group) for group in self.groups))
        if idle <= IDLE_SHARE * len(self.experts) or width == len(self.groups[0]):
            return self
        return Lanes(tuple(tuple(sorted(_busiest(group, done)[:width])) for group in self.groups))

    def left_out(self, before: Lanes) -> Lanes:
        """The experts of `before` that are not here."""
        here = set(self.experts)
        return Lanes(tuple(tuple(expert for expert in group if expert not in here) for group in before.groups))


def lanes_at(experts: int, groups: int, ends: Mapping[int, int]) -> Lanes:
    """The lanes after experts have ended at the path tokens given (those still going are absent).

    Repacks are replayed in the order in which they happened, so a resumed run has the lanes of an undisturbed one.
    """
    lanes = Lanes.full(experts, groups)
    for moment in sorted(set(ends.values())):
        lanes = lanes.without(frozenset(expert for expert, end in ends.items() if end <= moment))
    return lanes


def take(stack: Stack, have: Lanes, want: Lanes) -> Stack:
    """The working stack of `want` out of that of `have`."""
    order = [[group.index(expert) for expert in wanted] for group, wanted in zip(have.groups, want.groups, strict=True)]
    return _reorder((stack,), np.array(order, np.int32))


def whole(parts: list[tuple[Lanes, Stack]]) -> Stack:
    """The stack of all experts in order, out of parts that hold each of them once."""
    groups = [sum((lanes.groups[g] for lanes, _ in parts), ()) for g in range(len(parts[0][0].groups))]
    return _reorder(tuple(stack for _, stack in parts), np.array([np.argsort(group) for group in groups], np.int32))


@jax.jit
def _reorder(parts: tuple[Stack, ...], order_GL: jax.Array) -> Stack:
    """Rows of each group of devices in the order given; groups do not see each other."""
    count = order_GL.shape[0]

    def one(*leaves: jax.Array) -> jax.Array:
        grouped = jnp.concatenate([leaf.reshape(count, -1, *leaf.shape[1:]) for leaf in leaves], axis=1)
        picked = jax.vmap(lambda rows, order: rows[order])(grouped, order_GL)
        return picked.reshape(-1, *picked.shape[2:])

    return jax.tree.map(one, *parts)


def _busiest(group: tuple[int, ...], done: frozenset[int]) -> list[int]:
    return sorted(group, key=lambda expert: (expert in done, expert))
