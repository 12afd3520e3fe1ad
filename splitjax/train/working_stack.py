"""The stack as the loop holds it between steps: one program over all experts, or the program of one called for each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .stack import Stack
from .step import Controls, Metrics, Trainer


class Whole:
    """All experts in one program."""

    programs = 1

    def __init__(self, trainer: Trainer, stack: Stack) -> None:
        self._stack, self._step, self._lower = stack, trainer.step, trainer.lower

    def compile(self, tokens_KBT: Array, controls: Controls) -> jax.stages.Compiled:
        """The program that the steps are from now on, ahead of the first."""
        compiled = self._lower(self._stack, tokens_KBT, controls).compile()
        self._step = compiled
        return compiled

    def step(self, tokens_KBT: Array, controls: Controls) -> Metrics:
        """One update of every active expert (see `Trainer.step`)."""
        self._stack, metrics = self._step(self._stack, tokens_KBT, controls)
        return metrics

    def stack(self) -> Stack:
        """All experts, in order; the next step donates it."""
        return self._stack


class Dispatched:
    """K stacks of one, each stepped by the program of a stack of one: bit for bit what each would be alone.

    Nothing is cut out of a stack and written back in a step, which costs a fifth of it at 5.8M parameters and two
    windows an expert (`tools/bench_experts.py`), and the program is compiled for one expert whatever K is.
    """

    def __init__(self, trainer: Trainer, stack: Stack) -> None:
        self._step, self._lower, self.programs = trainer.step, trainer.lower, stack.experts
        leaves, tree = jax.tree.flatten(stack)
        cut = []
        for leaf in leaves:  # one after another, each freed: never two stacks in memory
            cut.append(_deal(leaf))
            leaf.delete()
        self._experts: list[Stack] = [jax.tree.unflatten(tree, rows) for rows in zip(*cut, strict=True)]

    def compile(self, tokens_KBT: Array, controls: Controls) -> jax.stages.Compiled:
        """The program that each expert's steps are from now on, ahead of the first."""
        compiled = self._lower(self._experts[0], *_deal_work(tokens_KBT, controls)[0]).compile()
        self._step = compiled
        return compiled

    def step(self, tokens_KBT: Array, controls: Controls) -> Metrics:
        """One update of every active expert, one after another (see `Trainer.step`)."""
        made = []
        for k, work in enumerate(_deal_work(tokens_KBT, controls)):
            self._experts[k], metrics = self._step(self._experts[k], *work)
            made.append(metrics)
        return _together(made)

    def stack(self) -> Stack:
        """All experts, in order: a copy, which later steps leave alone."""
        return _side_by_side(self._experts)


Working = Whole | Dispatched


def working(trainer: Trainer, stack: Stack) -> Working:
    """The stack ready to be stepped as `train.expert_loop` says; it is donated: do not use it again."""
    if trainer.loop_form == "dispatch" and stack.experts > 1:
        return Dispatched(trainer, stack)
    return Whole(trainer, stack)


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


@jax.jit
def _deal_work(tokens_KBT: Array, controls: Controls) -> list[tuple[Array, Controls]]:
    def of(k: int) -> tuple[Array, Controls]:
        return jax.tree.map(lambda leaf: leaf[k : k + 1], (tokens_KBT, controls))

    return [of(k) for k in range(tokens_KBT.shape[0])]


@jax.jit
def _together(made: list[Metrics]) -> Metrics:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *made)
