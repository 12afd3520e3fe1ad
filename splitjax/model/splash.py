"""Splash attention: JAX's own flash kernel for TPUs."""

from __future__ import annotations

import jax
from jax import Array

from splitjax.config import UserError

from .per_device import on_each_device

_LANES = 128
_TILES = (512, 256, 128)


def attend(
    q_BSHX: Array,
    k_BSNX: Array,
    v_BSNX: Array,
    document_BS: Array,
    cap: float | None = None,
    *,
    interpret: bool = False,
) -> Array:
    """What `attention.attend` computes, by the Pallas kernel.

    Args:
        interpret: run the kernel's Python on any machine, slowly (for tests).

    Raises:
        UserError: the window is no multiple of 128.
    """
    if q_BSHX.shape[1] % _LANES:
        raise UserError(
            f"splash attention needs a multiple of {_LANES}, not {q_BSHX.shape[1]}", where="train.seq_len",
            mend="Or set train.attention=xla.",
        )

    def local(q: Array, k: Array, v: Array, document: Array) -> Array:
        return _on_one_device(q, k, v, document, cap, interpret)

    return on_each_device(local, q_BSHX, k_BSNX, v_BSNX, document_BS)


def _on_one_device(
    q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, document_BS: Array, cap: float | None, interpret: bool
) -> Array:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    _, S, H, X = q_BSHX.shape
    tile = next(tile for tile in _TILES if S % tile == 0)
    sizes = splash.BlockSizes(
        block_q=tile, block_kv=tile, block_q_dkv=tile, block_kv_dkv=tile, block_q_dq=tile, block_kv_dq=tile
    )
    causal = masks.MultiHeadMask([masks.CausalMask((S, S))] * H)
    kernel = splash.make_splash_mha(
        causal, block_sizes=sizes, head_shards=1, q_seq_shards=1, attn_logits_soft_cap=cap, interpret=interpret
    )

    def one(q_SHX: Array, k_SNX: Array, v_SNX: Array, document_S: Array) -> Array:
        heads_first = (x.swapaxes(0, 1) for x in (q_SHX * X**-0.5, k_SNX, v_SNX))
        return kernel(*heads_first, splash.SegmentIds(document_S, document_S)).swapaxes(0, 1)

    return jax.vmap(one)(q_BSHX, k_BSNX, v_BSNX, document_BS).astype(q_BSHX.dtype)
