"""Cross entropy over the vocabulary, a block of positions at a time: a batch's logits never exist at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

_BLOCK_ROWS = 512
_BLOCK_LOGITS = 1 << 21
_GPU_SHARE = 64
_USUAL_GPU = 24e9


def blocks_for(batch: int, length: int, vocab_size: int, rows: int | None = None) -> int:
    """The fewest equal blocks of positions of at most `rows` tokens (None: `rows_at_once` of a CPU)."""
    rows = rows or rows_at_once(vocab_size)
    divisors = (n for n in range(1, length) if length % n == 0)
    return next((n for n in divisors if batch * length <= n * rows), length)


def rows_at_once(vocab_size: int, platform: str = "cpu", memory_bytes: float | None = None) -> int:
    """Tokens whose logits are held at once in the loss of one model.

    On two CPU cores 512, or 8 MiB of logits where that is more, take 15 % off a whole step (V = 4096, 4096 tokens):
    logits are read back from the cache. With fewer rows the products would wait for the matrix instead. On a GPU there
    is no such cache, and each block reads and writes the head's whole gradient: as many as 1/64 of the card's memory
    holds in float32, so that a stack of eight still has room (122M on an H100: 64 blocks → 4, a tenth off the step).

    Args:
        platform: as JAX calls it.
        memory_bytes: of a device; None: not known.
    """
    if platform == "gpu":
        return max(_BLOCK_ROWS, int((memory_bytes or _USUAL_GPU) / _GPU_SHARE / (4 * vocab_size)))
    return max(_BLOCK_ROWS, _BLOCK_LOGITS // vocab_size)


def capped(logits: Array, cap: float | None) -> Array:
    """Logits under a soft cap, cap · tanh(logit / cap); None: as they are."""
    return logits if cap is None else cap * jnp.tanh(logits / cap)


def token_losses(x_BSD: Array, head_DV: Array, target_BS: Array, blocks: int, cap: float | None = None) -> Array:
    """Cross entropy of every target in nats, float32 (B, S)."""

    def one(x: Array, target: Array) -> Array:
        nll, _, _ = _cross_entropy(x, head_DV, target, cap)
        return nll

    return _over_blocks(one, x_BSD, target_BS, blocks)


def token_scores(
    x_BSD: Array, head_DV: Array, target_BS: Array, blocks: int, cap: float | None = None
) -> tuple[Array, Array]:
    """Cross entropy of every target in nats, and whether it is the likeliest token; both (B, S)."""

    def one(x: Array, target: Array) -> Array:
        nll, _, weights = _cross_entropy(x, head_DV, target, cap)
        return jnp.stack([nll, weights.argmax(axis=-1) == target], axis=-1)

    nll_BS, greedy_BS = jnp.moveaxis(_over_blocks(one, x_BSD, target_BS, blocks), -1, 0)
    return nll_BS, greedy_BS > 0


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def mean_loss(
    x_BSD: Array, head_DV: Array, target_BS: Array, z_loss: float, blocks: int, cap: float | None = None
) -> tuple[Array, Array]:
    """Training objective and mean cross entropy, nats a token.

    The objective adds `z_loss` times the mean squared log-normaliser (PaLM, Chowdhery et al. 2022). Gradients
    are those of the objective; the second result is a measurement and carries none.
    """

    def one(x: Array, target: Array) -> Array:
        nll, log_z, _ = _cross_entropy(x, head_DV, target, cap)
        return jnp.stack([nll + z_loss * log_z**2, nll], axis=-1)

    objective, loss = _over_blocks(one, x_BSD, target_BS, blocks).mean(axis=(0, 1))
    return objective, loss


def _mean_loss_forward(
    x_BSD: Array, head_DV: Array, target_BS: Array, z_loss: float, blocks: int, cap: float | None
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Loss and gradients in one pass, while a block's logits are at hand: nothing is recomputed later."""
    count = target_BS.size

    def one(dhead_DV: Array, x: Array, target: Array) -> tuple[Array, tuple[Array, Array]]:
        logits = _logits(x, head_DV, cap)
        nll, log_z, weights = _from_logits(logits, target)
        pull = (1.0 + 2.0 * z_loss * log_z) / (count * weights.sum(axis=-1))
        hit = jax.lax.broadcasted_iota(jnp.int32, weights.shape, weights.ndim - 1) == target[..., None]
        dlogits = weights * pull[..., None] - jnp.where(hit, 1.0 / count, 0.0)
        if cap is not None:
            dlogits *= 1.0 - (logits / cap) ** 2
        dlogits = dlogits.astype(x.dtype)
        rows_RV = dlogits.reshape(-1, dlogits.shape[-1])
        dhead_DV += jnp.matmul(x.reshape(-1, x.shape[-1]).T, rows_RV, preferred_element_type=jnp.float32)
        dx = (rows_RV @ head_DV.astype(x.dtype).T).reshape(x.shape)
        return dhead_DV, (jnp.stack([nll + z_loss * log_z**2, nll], axis=-1), dx)

    dhead_DV = jnp.zeros(head_DV.shape, jnp.float32)
    if blocks == 1:
        dhead_DV, (values, dx_BSD) = one(dhead_DV, x_BSD, target_BS)
    else:
        inputs = (_split(x_BSD, blocks), _split(target_BS, blocks))
        dhead_DV, (values, dx_BSD) = jax.lax.scan(lambda carry, pair: one(carry, *pair), dhead_DV, inputs)
        values, dx_BSD = _join(values), _join(dx_BSD)
    objective, loss = values.mean(axis=(0, 1))
    return (objective, loss), (dx_BSD, dhead_DV.astype(head_DV.dtype))


def _mean_loss_backward(
    z_loss: float, blocks: int, cap: float | None, saved: tuple[Array, Array], cotangents: tuple[Array, Array]
) -> tuple[Array, Array, None]:
    dx_BSD, dhead_DV = saved
    scale = cotangents[0]
    return (dx_BSD * scale).astype(dx_BSD.dtype), (dhead_DV * scale).astype(dhead_DV.dtype), None


mean_loss.defvjp(_mean_loss_forward, _mean_loss_backward)


def _cross_entropy(
    x: Array, head_DV: Array, target: Array, cap: float | None = None
) -> tuple[Array, Array, Array]:
    """Nats of each target, log-normalisers and unnormalised probabilities, all float32."""
    return _from_logits(_logits(x, head_DV, cap), target)


def _logits(x: Array, head_DV: Array, cap: float | None) -> Array:
    rows_RD = x.reshape(-1, x.shape[-1])  # two axes for every product: see blocks.Linear
    logits_RV = jnp.matmul(rows_RD, head_DV.astype(x.dtype), preferred_element_type=jnp.float32)
    return capped(logits_RV.reshape(*x.shape[:-1], -1), cap)


def _from_logits(logits: Array, target: Array) -> tuple[Array, Array, Array]:
    highest = logits.max(axis=-1, keepdims=True)
    weights = jnp.exp(logits - highest)
    log_z = jnp.log(weights.sum(axis=-1)) + highest[..., 0]
    hit = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    return log_z - hit, log_z, weights


def _over_blocks(one: Callable[[Array, Array], Array], x_BSD: Array, target_BS: Array, blocks: int) -> Array:
    if blocks == 1:
        return one(x_BSD, target_BS)
    return _join(jax.lax.map(lambda pair: one(*pair), (_split(x_BSD, blocks), _split(target_BS, blocks))))


def _split(x_BS: Array, blocks: int) -> Array:
    """(B, S, …) → (blocks, B, S / blocks, …). Positions are cut, never the batch, which may be sharded."""
    B, S, *rest = x_BS.shape
    return jnp.moveaxis(x_BS.reshape(B, blocks, S // blocks, *rest), 1, 0)


def _join(x: Any) -> Array:
    blocks, B, length, *rest = x.shape
    return jnp.moveaxis(x, 0, 1).reshape(B, blocks * length, *rest)
