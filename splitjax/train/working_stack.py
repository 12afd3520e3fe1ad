"""The stack as the loop holds it between steps: one program over all experts, or the program of one called for each."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .stack import Stack, pick
from .step import Controls, Metrics, Trainer


class Whole:
    """All experts in one program."""

    programs = 1

    def __init__(self, trainer: Trainer, stack: Stack) -> None:
        self._stack, self._step, self._lower = stack, trainer.step, trainer.lower
        self._steps, self.block = trainer.steps, trainer.block

    def compile(self, tokens_KBT: Array, controls: Controls) -> jax.stages.Compiled:
        """The program that the steps are from now on, ahead of the first."""
        compiled = self._lower(self._stack, tokens_KBT, controls).compile()
        self._step = compiled
        return compiled

    def step(self, tokens: Array, controls: Controls) -> Metrics:
        """One update of every active expert (see `Trainer.step`), or of a block as many in one dispatch.

        Args:
            tokens: (K, B, T); of a block (P, K, B, T), as controls and metrics have a leading P then.
        """
        made = self._step if tokens.ndim == 3 else self._steps
        self._stack, metrics = made(self._stack, tokens, controls)
        return metrics

    def stack(self) -> Stack:
        """All experts, in order; the next step donates it."""
        return self._stack

    def rows(self, experts: Sequence[int]) -> Stack:
        """Some of them: a copy, which later steps leave alone."""
        return _picked(self._stack, np.array(experts, np.int32))


class Dispatched:
    """K stacks of one, each stepped by the program of a stack of one: bit for bit what each would be alone.

    Nothing is cut out of a stack and written back in a step, which costs a fifth of it at 5.8M parameters and two
    windows an expert (`tools/bench_experts.py`), and the program is compiled for one expert whatever K is.
    """

    def __init__(self, trainer: Trainer, *stacks: Stack) -> None:
        self._step, self._lower = trainer.step, trainer.lower
        self.block = 1  # what one program would spare in dispatches, K programs spend
        self._experts: list[Stack] = [expert for stack in stacks for expert in _cut(stack)]
        self.programs = len(self._experts)
        self.choose(range(self.programs))

    def choose(self, experts: Sequence[int]) -> None:
        """Step these alone from now on, in this order; the others stay as they are, at no cost."""
        self._lanes = list(experts)

    def compile(self, tokens_KBT: Array, controls: Controls) -> jax.stages.Compiled:
        """The program that each expert's steps are from now on, ahead of the first."""
        compiled = self._lower(self._experts[0], *_deal_work(tokens_KBT, controls)[0]).compile()
        self._step = compiled
        return compiled

    def step(self, tokens_KBT: Array, controls: Controls) -> Metrics:
        """One update of every active expert, one after another (see `Trainer.step`)."""
        made = []
        for k, work in zip(self._lanes, _deal_work(tokens_KBT, controls), strict=True):
            self._experts[k], metrics = self._step(self._experts[k], *work)
            made.append(metrics)
        return _together(made)

    def stack(self) -> Stack:
        """All experts, in order: a copy, which later steps leave alone."""
        return _side_by_side(self._experts)

    def rows(self, experts: Sequence[int]) -> Stack:
        """Some of them: a copy, which later steps leave alone."""
        return _side_by_side([self._experts[k] for k in experts])


Working = Whole | Dispatched


def working(trainer: Trainer, stack: Stack) -> Working:
    """The stack ready to be stepped as `train.expert_loop` says; it is donated: do not use it again."""
    if trainer.loop_form == "dispatch" and stack.experts > 1:
        return Dispatched(trainer, stack)
    return Whole(trainer, stack)


def _cut(stack: Stack) -> list[Stack]:
    """A stack of one of each expert; the stack is freed, leaf after leaf: it is never held twice."""
    leaves, tree = jax.tree.flatten(stack)
    cut = []
    for leaf in leaves:
        cut.append(_deal(leaf))
        leaf.delete()
    return [jax.tree.unflatten(tree, rows) for rows in zip(*cut, strict=True)]


def _deal(leaf_K: Array) -> list[Array]:
    """A leaf of each expert. On the host, a leaf at a time: a program for each shape would take longer to compile."""
    host_K = np.asarray(leaf_K)
    # Copied: on a CPU the array is a view of the leaf, which its owner may free.
    return [jax.device_put(host_K[k : k + 1].copy(), leaf_K.sharding) for k in range(len(host_K))]


def _side_by_side(experts: list[Stack]) -> Stack:
    """Stacks of one → their stack, by way of the host for the same reason."""

    def join(*leaves: Array) -> Array:
        return jax.device_put(np.concatenate([np.asarray(leaf) for leaf in leaves]), leaves[0].sharding)

    return jax.tree.map(join, *experts)


_picked = jax.jit(pick)


def _deal_work(tokens_KBT: Array, controls: Controls) -> list[tuple[Array, Controls]]:
    """Batch and controls of each expert, by way of the host: lanes come and go, and each count would be a program."""
    work, place = jax.tree.map(np.asarray, (tokens_KBT, controls)), tokens_KBT.sharding
    cut = [jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], work) for k in range(tokens_KBT.shape[0])]
    return list(jax.device_put(cut, place))


@jax.jit
def _together(made: list[Metrics]) -> Metrics:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *made)
