"""Causal attention inside documents, and rotary positions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from splitjax import config

Positions = tuple[np.ndarray, np.ndarray] | tuple[Array, Array]
"""cos and sin of every position."""

Attend = Callable[[Array, Array, Array, Array], Array]
"""(queries BSHX, keys BSNX, values BSNX, document BS) → BSHX, as `attend` defines it."""

_HIDDEN = -1e30
"""Added to a score that must not be seen: exp() of it is exactly 0, and float32 still holds it."""
_MAX_BLOCKS = 8
_MIN_BLOCK = 64


def documents(tokens_BS: Array, end_id: int = 0) -> Array:
    """Document number of each position: `end_id` opens a new document and belongs to it."""
    return jnp.cumsum(tokens_BS == end_id, axis=-1, dtype=jnp.int32)


def rotary(length: int, width: int, theta: float, scaling: config.RopeScaling | None = None) -> Positions:
    """cos and sin tables (S, X/2) in float32, as in RoFormer (Su et al. 2021).

    Constants of the program: traced, XLA would take every cosine anew for each head of each layer.
    """
    frequency = theta ** (-np.arange(0, width, 2, dtype=np.float32) / width)
    if scaling is not None:
        frequency = frequency * _stretch(frequency, scaling)
    angle_SX = np.arange(length, dtype=np.float32)[:, None] * frequency.astype(np.float32)
    return np.cos(angle_SX), np.sin(angle_SX)


def _stretch(frequency: np.ndarray, scaling: config.RopeScaling) -> np.ndarray | float:
    """What a context of `factor` times the length multiplies each frequency with."""
    if scaling.type == "linear":
        return 1 / scaling.factor
    low, high, context = scaling.low_freq_factor, scaling.high_freq_factor, scaling.original_max_position_embeddings
    assert low is not None
    assert high is not None
    assert context is not None
    turns = context * frequency / (2 * np.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return np.asarray(kept + (1 - kept) / scaling.factor)


@jax.custom_vjp
def rotate(x_BSHX: Array, cos: ArrayLike, sin: ArrayLike) -> Array:
    """Turn the pairs (i, i + X/2) by their position: the pairing that Hugging Face checkpoints use."""
    return _turned(x_BSHX, cos, sin)


def _rotate_forward(x_BSHX: Array, cos: ArrayLike, sin: ArrayLike) -> tuple[Array, Any]:
    return _turned(x_BSHX, cos, sin), (cos, sin)


def _rotate_backward(saved: tuple[Array, Array], turned: Array) -> tuple[Array, None, None]:
    """Turning back is the transpose, and spares XLA the padded sums that split and concatenate give."""
    cos, sin = saved
    return _turned(turned, cos, -sin), None, None


rotate.defvjp(_rotate_forward, _rotate_backward)


def _turned(x_BSHX: Array, cos: ArrayLike, sin: ArrayLike) -> Array:
    return turn(x_BSHX.astype(jnp.float32), cos, sin).astype(x_BSHX.dtype)


def turn(x_BSHX: Array, cos: ArrayLike, sin: ArrayLike) -> Array:
    """`rotate` in the type at hand; to be differentiated by hand."""
    first, second = jnp.split(x_BSHX, 2, axis=-1)
    cos, sin = jnp.expand_dims(cos, 1), jnp.expand_dims(sin, 1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def attend(q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, document_BS: Array, cap: float | None = None) -> Array:
    """Softmax attention; a position sees itself and what stands before it in its own document.

    Query head h reads key/value head h // (H / N). Scores are scaled by 1/sqrt(X) and held in float32.

    The batch and heads are folded into one axis and queries go in blocks that never touch later keys: on two
    CPU cores forward and backward take a third of the time of `jax.nn.dot_product_attention`.

    Args:
        cap: soft cap of the scaled scores, cap · tanh(score / cap), as in Gemma 2; None: none.
    """
    q, k, v = _fold(q_BSHX, k_BSNX, v_BSNX)
    bias_BSS = _document_bias(document_BS)
    outs = []
    for start, stop in _blocks(q_BSHX.shape[1]):
        outs.append(_attend_block(q[:, :, start:stop], k[:, :stop], v[:, :stop], bias_BSS[:, start:stop, :stop], cap))
    return _unfold(outs[0] if len(outs) == 1 else jnp.concatenate(outs, axis=2), q_BSHX.shape)


def attend_where(
    q_BQHX: Array, k_BPNX: Array, v_BPNX: Array, seen_QP: Array, cap: float | None = None
) -> Array:
    """`attend` of queries over keys of other positions, for decoding: `seen_QP` says which key a query sees."""
    bias_BQP = jnp.where(seen_QP, 0.0, _HIDDEN)[None].repeat(q_BQHX.shape[0], axis=0)
    return _unfold(_attend_block(*_fold(q_BQHX, k_BPNX, v_BPNX), bias_BQP, cap), q_BQHX.shape)


def _fold(q_BQHX: Array, k_BPNX: Array, v_BPNX: Array) -> tuple[Array, Array, Array]:
    """(BN, G, Q, X) scaled queries, (BN, P, X) keys and values.

    Queries that share a key/value head stand as extra rows of one product, so keys are never repeated.
    """
    B, Q, H, X = q_BQHX.shape
    P, N = k_BPNX.shape[1:3]
    q = (q_BQHX * X**-0.5).reshape(B, Q, N, H // N, X).transpose(0, 2, 3, 1, 4).reshape(B * N, H // N, Q, X)
    k = k_BPNX.transpose(0, 2, 1, 3).reshape(B * N, P, X)
    return q, k, v_BPNX.transpose(0, 2, 1, 3).reshape(B * N, P, X)


def _unfold(out: Array, shape: tuple[int, ...]) -> Array:
    """(BN, G, Q, X) → (B, Q, H, X)."""
    B, Q, H, X = shape
    return out.reshape(B, -1, out.shape[1], Q, X).transpose(0, 3, 1, 2, 4).reshape(B, Q, H, X)


def _blocks(length: int) -> list[tuple[int, int]]:
    size = max(_MIN_BLOCK, -(-length // _MAX_BLOCKS))
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _document_bias(document_BS: Array) -> Array:
    S = document_BS.shape[-1]
    same_BSS = document_BS[:, :, None] == document_BS[:, None, :]
    return jnp.where(same_BSS & jnp.tril(jnp.ones((S, S), bool)), 0.0, _HIDDEN)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend_block(q: Array, k: Array, v: Array, bias: Array, cap: float | None = None) -> Array:
    """q (BN, G, Q, X), k and v (BN, P, X), bias (B, Q, P) → (BN, G, Q, X)."""
    return _forward(q, k, v, bias, cap)[0]


def _forward(q: Array, k: Array, v: Array, bias: Array, cap: float | None) -> tuple[Array, tuple[Array | None, ...]]:
    BN, G, Q, X = q.shape
    B, _, P = bias.shape
    scores = jnp.einsum("bqx,bpx->bqp", q.reshape(BN, G * Q, X), k, preferred_element_type=jnp.float32)
    slope = None
    if cap is not None:
        scores = cap * jnp.tanh(scores / cap)
        slope = (1.0 - (scores / cap) ** 2).astype(q.dtype)
    scores = (scores.reshape(B, -1, Q, P) + bias[:, None]).reshape(BN, G * Q, P)
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = (weights / weights.sum(axis=-1, keepdims=True)).astype(v.dtype)
    out = jnp.einsum("bqp,bpx->bqx", weights, v)
    return out.reshape(q.shape), (q, k, v, weights, out, slope)


def _backward(cap: float | None, saved: tuple[Array, ...], dout: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, weights, out, slope = saved
    rows = dout.reshape(out.shape)
    dv = jnp.einsum("bqp,bqx->bpx", weights, rows)
    dweights = jnp.einsum("bqx,bpx->bqp", rows, v, preferred_element_type=jnp.float32)
    mean = jnp.sum(rows.astype(jnp.float32) * out, axis=-1, keepdims=True)
    dscores = weights * (dweights - mean)
    dscores = (dscores if cap is None else dscores * slope).astype(q.dtype)
    dq = jnp.einsum("bqp,bpx->bqx", dscores, k)
    dk = jnp.einsum("bqp,bqx->bpx", dscores, q.reshape(out.shape))
    return dq.reshape(q.shape), dk, dv, None


_attend_block.defvjp(_forward, _backward)
