"""The only training state: K models with a leading expert axis. A seed is a stack of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .placement import Placement, owned

Tree = Any
"""A nested dict of arrays."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stack:
    """K models in training; every leaf has the expert axis first.

    Attributes:
        params: nested dict of float32 masters.
        mu: first moments (Muon: momentum), like params but for their type (`train.moment_dtype`).
        nu: second moments, like params without the leaves that Muon updates.
        tokens_K2: path tokens of each expert as two uint32 limbs (high, low): int32 ends at 2.1B tokens and JAX
            has no int64 by default. Read it through `path_tokens`.
        steps_K: updates applied (Adam's count); a skipped step is not one.
        skipped_K: steps whose loss or gradient was not finite, or whose gradient norm was a spike.
        norm_K: running mean of the gradient norm, float32.

    Without moments (`bare`) mu and nu are empty: nothing can go on from it.
    """

    params: Tree
    mu: Tree
    nu: Tree
    tokens_K2: Array
    steps_K: Array
    skipped_K: Array
    norm_K: Array

    @property
    def experts(self) -> int:
        """K."""
        return self.steps_K.shape[0]


def fresh(params: Tree, mu: Tree, nu: Tree) -> Stack:
    """A stack at token 0 around stacked parameters and zero moments."""
    first = jax.tree.leaves(params)[0]
    none_K = jnp.zeros(first.shape[:1], jnp.int32)
    tokens_K2 = jnp.zeros((*first.shape[:1], 2), jnp.uint32)
    norm_K = jnp.zeros(first.shape[:1], jnp.float32)
    return Stack(params, mu, nu, tokens_K2, none_K, none_K, norm_K)


def bare(stack: Stack) -> Stack:
    """The stack without its moments: all that is read of models that nobody trains on."""
    return dataclasses.replace(stack, mu={}, nu={})


def add_tokens(tokens_2: Array, more: Array) -> Array:
    """(high, low) + more, with the carry."""
    low = tokens_2[1] + more.astype(jnp.uint32)
    return jnp.stack([tokens_2[0] + (low < tokens_2[1]).astype(jnp.uint32), low])


def path_tokens(stack: Stack, placement: Placement | None = None) -> np.ndarray:
    """Tokens each expert has seen since step 0, int64 (K,), on the host (waits for the stack).

    Where a stack lies over several processes: of the experts that this process speaks for; with its placement, of all.
    """
    if placement is None:
        limbs_K2 = np.array(list(owned(stack.tokens_K2).values()), np.int64).reshape(-1, 2)
    else:
        limbs_K2 = placement.fetch(stack.tokens_K2).astype(np.int64)
    return (limbs_K2[:, 0] << 32) + limbs_K2[:, 1]


def pick(stack: Stack, experts: Sequence[int]) -> Stack:
    """Experts of a stack in the order given, as a new stack; an index may repeat (then it is a split)."""
    rows = jnp.asarray(experts, jnp.int32)
    return jax.tree.map(lambda leaf: leaf[rows], stack)


def concatenate(stacks: Sequence[Stack]) -> Stack:
    """Stacks of one shape side by side: experts added at a restart, or a separate set read as one stack."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *stacks)


def merge(stack: Stack, weights_K: Sequence[float] | None = None) -> Stack:
    """One model whose parameters are the weighted mean of the experts'.

    Moments are averaged with the same weights, so training can go on; tokens and steps are those of the longest path.

    Args:
        stack: the experts.
        weights_K: non-negative, not all zero; normalised to sum 1. None: equal.
    """
    w_K = np.ones(stack.experts) if weights_K is None else np.asarray(weights_K, float)
    if w_K.shape != (stack.experts,) or (w_K < 0).any() or not w_K.sum() > 0:
        raise ValueError(f"weights {weights_K} do not weigh {stack.experts} experts")
    w_K = (w_K / w_K.sum()).astype(np.float32)

    def mean(leaf: Array) -> Array:
        return jnp.tensordot(w_K, leaf, axes=1)[None].astype(leaf.dtype)

    longest = int(np.argmax(path_tokens(stack)))
    return Stack(
        params=jax.tree.map(mean, stack.params),
        mu=jax.tree.map(mean, stack.mu),
        nu=jax.tree.map(mean, stack.nu),
        tokens_K2=stack.tokens_K2[longest][None],
        steps_K=stack.steps_K.max(keepdims=True),
        skipped_K=stack.skipped_K.max(keepdims=True),
        norm_K=mean(stack.norm_K),
    )
