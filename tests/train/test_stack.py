from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitjax.train import concatenate, merge, path_tokens, pick
from splitjax.train.stack import Stack, add_tokens

from .helpers import same_bits


def make_stack(k: int, tokens: int = 0) -> Stack:
    keys = iter(jax.random.split(jax.random.key(k), 3))
    tree = {"a": jax.random.normal(next(keys), (k, 3, 2)), "layers": {"b": jax.random.normal(next(keys), (k, 4))}}
    limbs = jnp.tile(jnp.array([[tokens >> 32, tokens & 0xFFFFFFFF]], jnp.uint32), (k, 1))
    counts = jnp.arange(k, dtype=jnp.int32)
    mu, nu = jax.tree.map(jnp.abs, tree), jax.tree.map(jnp.square, tree)
    return Stack(tree, mu, nu, limbs, counts, counts + 1, counts * 0.5)


@settings(deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 2**31 - 1))
def test_path_tokens_do_not_overflow(before, more):
    limbs = add_tokens(make_stack(1, before).tokens_K2[0], jnp.int32(more))
    stack = make_stack(1)
    after = dataclasses.replace(stack, tokens_K2=limbs[None])
    assert path_tokens(after).tolist() == [before + more]


def test_pick_then_concatenate_is_the_stack():
    stack = make_stack(4)
    assert same_bits(concatenate([pick(stack, [0]), pick(stack, [1, 2]), pick(stack, [3])]), stack)
    assert pick(stack, [2, 2]).experts == 2


def test_merge_is_the_weighted_mean():
    stack = make_stack(3, tokens=5 * 2**32 + 7)
    one = merge(stack, [1, 0, 3])
    a = np.asarray(stack.params["a"])
    assert np.asarray(one.params["a"][0]) == pytest.approx(0.25 * a[0] + 0.75 * a[2], abs=1e-6)
    assert one.experts == 1
    assert path_tokens(one).tolist() == [5 * 2**32 + 7]
    assert np.asarray(merge(pick(stack, [1, 1])).params["a"]) == pytest.approx(a[1:2])


@pytest.mark.parametrize("weights", [[1, 2], [-1, 1, 1], [0, 0, 0], [float("nan"), 1, 1]])
def test_merge_refuses_weights_that_weigh_nothing(weights):
    with pytest.raises(ValueError, match="weights"):
        merge(make_stack(3), weights)
