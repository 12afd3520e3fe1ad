"""The folded, blocked attention against the definition."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.model import splash
from splitjax.model.attention import attend, documents, rotary, rotate


def by_definition(q: Any, k: Any, v: Any, document: Any, cap: float | None = None) -> Any:
    groups = q.shape[2] // k.shape[2]
    k, v = jnp.repeat(k, groups, axis=2), jnp.repeat(v, groups, axis=2)
    scores = jnp.einsum("bqhx,bkhx->bhqk", q, k) / np.sqrt(q.shape[-1])
    scores = scores if cap is None else cap * jnp.tanh(scores / cap)
    seen = np.tril(np.ones(scores.shape[-2:], bool)) & (document[:, :, None] == document[:, None, :])[:, None]
    return jnp.einsum("bhqk,bkhx->bqhx", jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)), v)


@pytest.mark.parametrize("cap", [None, 0.7])
# 70 is no multiple of a block; 600 needs blocks longer than the shortest.
@pytest.mark.parametrize(("length", "heads", "kv_heads"), [(5, 2, 2), (70, 4, 2), (600, 3, 1)])
def test_attention_and_its_gradient_follow_the_definition(
    length: int, heads: int, kv_heads: int, cap: float | None
) -> None:
    keys = jax.random.split(jax.random.key(length), 5)
    q, g = (jax.random.normal(key, (2, length, heads, 8)) for key in keys[:2])
    k, v = (jax.random.normal(key, (2, length, kv_heads, 8)) for key in keys[2:4])
    document = documents(jax.random.randint(keys[4], (2, length), 0, 20))

    def both(function: Any) -> Any:
        value, pull = jax.vjp(lambda *qkv: function(*qkv, document, cap), q, k, v)
        return value, pull(g)

    got, wanted = (jax.jit(both, static_argnums=0)(function) for function in (attend, by_definition))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), got, wanted)


@pytest.mark.parametrize("cap", [None, 0.7])
def test_the_tpu_kernel_agrees(cap: float | None) -> None:
    """The kernel's own Python, run here; that it compiles for TPUs is checked where they are compiled for."""
    keys = jax.random.split(jax.random.key(0), 5)
    q, g = (jax.random.normal(key, (2, 128, 4, 16)) for key in keys[:2])
    k, v = (jax.random.normal(key, (2, 128, 2, 16)) for key in keys[2:4])
    document = documents(jax.random.randint(keys[4], (2, 128), 0, 40))

    def both(function: Any) -> Any:
        value, pull = jax.vjp(lambda *qkv: function(*qkv, document), q, k, v)
        return value, pull(g)

    functions = partial(splash.attend, interpret=True, cap=cap), partial(attend, cap=cap)
    got, wanted = (jax.jit(both, static_argnums=0)(function) for function in functions)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), got, wanted)


def test_the_tpu_kernel_says_which_windows_it_takes() -> None:
    x = jnp.zeros((1, 100, 1, 8))
    with pytest.raises(UserError, match=r"train.seq_len: .* multiple of 128, not 100"):
        splash.attend(x, x, x, jnp.zeros((1, 100), jnp.int32))


def test_documents_open_at_token_zero() -> None:
    np.testing.assert_array_equal(documents(jnp.array([5, 6, 0, 7, 0, 0, 3])), [0, 0, 1, 1, 2, 3, 3])


def test_rotation_depends_on_distance_only_and_keeps_length() -> None:
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 16))
    cos, sin = rotary(64, 16, 10_000.0)
    turned_q, turned_k = (rotate(jnp.broadcast_to(x, (1, 64, 1, 16)), cos, sin)[0, :, 0] for x in (q, k))
    scores = np.asarray(turned_q @ turned_k.T)
    for distance in (0, 1, 17):
        diagonal = np.diagonal(scores, -distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(turned_q, axis=-1), np.linalg.norm(q), rtol=1e-5)


def test_gradient_of_the_rotation() -> None:
    cos, sin = rotary(6, 8, 100.0)
    x, g = jax.random.normal(jax.random.key(0), (2, 1, 6, 2, 8))
    _, pull = jax.vjp(lambda x: rotate(x, cos, sin), x)
    # A linear map: <rotate(x), g> = <x, pull(g)>.
    np.testing.assert_allclose(jnp.vdot(rotate(x, cos, sin), g), jnp.vdot(x, pull(g)[0]), rtol=1e-5)
