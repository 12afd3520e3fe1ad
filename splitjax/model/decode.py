"""One token after another: the model's own blocks, with the keys and values of what was read kept in a cache."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from .attention import attend_where, rotary
from .language_model import LanguageModel, Params


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """Keys (rotated) and values of one document's tokens, by layer and position; P positions have room."""

    k_LBPNX: Array
    v_LBPNX: Array

    @property
    def room(self) -> int:
        """P."""
        return self.k_LBPNX.shape[2]


def empty_cache(model: LanguageModel, batch: int, room: int) -> Cache:
    """Room for `room` tokens of each of `batch` documents."""
    cfg = model.cfg
    shape = (cfg.n_layers, batch, room, cfg.kv_heads, cfg.width_of_head)
    dtype = jnp.bfloat16 if model.precision == "bfloat16" else jnp.float32
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def extend(model: LanguageModel, params: Params, tokens_BS: Array, start: Array, cache: Cache) -> tuple[Array, Cache]:
    """Read S more tokens of each document.

    What stands in the cache at `start` and after is overwritten as far as S reaches and not looked at beyond, so
    tokens may be padded on the right: extend again from where the padding began.

    Args:
        tokens_BS: of one document a row; an end of document among them does not begin another.
        start: position of the first; start + S must not exceed the room.

    Returns:
        (float32 scores of the token after each (B, S, V), the cache with these tokens).
    """
    S, cfg = tokens_BS.shape[1], model.cfg
    tables = rotary(cache.room, cfg.width_of_head, cfg.rope_theta, cfg.rope_scaling)
    cos, sin = (jax.lax.dynamic_slice_in_dim(jnp.asarray(table), start, S) for table in tables)
    seen_SP = jnp.arange(cache.room) <= start + jnp.arange(S)[:, None]

    def block(x_BSD: Array, layer: tuple[Params, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        weights, k_BPNX, v_BPNX = layer
        kept: list[Array] = []

        def attend(q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, _: Array) -> Array:
            for old, new in ((k_BPNX, k_BSNX), (v_BPNX, v_BSNX)):
                kept.append(jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), start, axis=1))
            return attend_where(q_BSHX, kept[0], kept[1], seen_SP, cfg.attention_cap)

        x_BSD = model.block(weights, attend)(x_BSD, (cos, sin), tokens_BS)
        return x_BSD, (kept[0], kept[1])

    ends = model.ends(params)
    # Scanned whatever training does: a decoding step is memory traffic, and this compiles once a block.
    x_BSD, (k, v) = jax.lax.scan(block, ends.embed(tokens_BS), (params["layers"], cache.k_LBPNX, cache.v_LBPNX))
    return model.scores(params, ends.final_norm(x_BSD)), Cache(k, v)
