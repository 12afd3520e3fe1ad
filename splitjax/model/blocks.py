"""The transformer block in Flax NNX: weights are declared here and used functionally everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flax import nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from splitjax import config

from .attention import Attend, Positions, rotate
from .gate import gated
from .norms import RMSNorm


class Linear(nnx.Linear):
    """A projection, without a bias unless asked for: float32 weights, arithmetic in `dtype`.

    It multiplies (B·S, D) rows: with batch and sequence apart, XLA on CPU transposes copies of both operands
    for every weight gradient, and a feed-forward layer takes half as long again.
    """

    def __init__(self, n_in: int, n_out: int, std: float, dtype: Any, rngs: nnx.Rngs, bias: bool = False) -> None:
        initial = nnx.initializers.normal(std)
        super().__init__(n_in, n_out, use_bias=bias, dtype=dtype, kernel_init=initial, rngs=rngs)

    def __call__(self, inputs: Array, out_sharding: Any = None) -> Array:
        rows = super().__call__(inputs.reshape(-1, inputs.shape[-1]), out_sharding)
        return rows.reshape(*inputs.shape[:-1], -1)


def norm(width: int, epsilon: float, dtype: Any, rngs: nnx.Rngs, scale: float = 1.0) -> RMSNorm:
    """A norm whose gain starts at `scale`."""
    initial = nnx.initializers.constant(scale)
    return RMSNorm(width, epsilon=epsilon, dtype=dtype, scale_init=initial, rngs=rngs)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions and, on request, normalised queries and keys."""

    def __init__(self, cfg: config.Model, attend: Attend, dtype: Any, rngs: nnx.Rngs) -> None:
        D, X = cfg.d_model, cfg.width_of_head
        self.attend = attend
        self.heads, self.kv_heads, self.width = cfg.n_heads, cfg.kv_heads, X
        biased = cfg.attention_bias is not None
        self.query = Linear(D, cfg.n_heads * X, D**-0.5, dtype, rngs, biased)
        self.key = Linear(D, cfg.kv_heads * X, D**-0.5, dtype, rngs, biased)
        self.value = Linear(D, cfg.kv_heads * X, D**-0.5, dtype, rngs, biased)
        # 2L summands enter the residual stream: without the root its size would grow with depth.
        out_std = (2 * cfg.n_layers * cfg.n_heads * X) ** -0.5
        self.out = Linear(cfg.n_heads * X, D, out_std, dtype, rngs, cfg.attention_bias == "all")
        self.query_norm = norm(X, cfg.norm_eps, dtype, rngs) if cfg.qk_norm else None
        self.key_norm = norm(X, cfg.norm_eps, dtype, rngs) if cfg.qk_norm else None

    def __call__(self, copies: Sequence[Array], positions: Positions, document_BS: Array) -> Array:
        """`copies`: x (B, S, D) for queries, keys and values, see `norms.RMSNorm.after`."""
        B, S, _ = copies[0].shape
        q_BSHX = checkpoint_name(self.query(copies[0]), "query").reshape(B, S, self.heads, self.width)
        k_BSNX = checkpoint_name(self.key(copies[1]), "key").reshape(B, S, self.kv_heads, self.width)
        v_BSNX = checkpoint_name(self.value(copies[2]), "value").reshape(B, S, self.kv_heads, self.width)
        if self.query_norm is not None and self.key_norm is not None:
            q_BSHX, k_BSNX = self.query_norm.turned(q_BSHX, *positions), self.key_norm.turned(k_BSNX, *positions)
        else:
            # Turning has a transpose that asks for no input: kept turned, they need not be kept or turned again.
            q_BSHX = checkpoint_name(rotate(q_BSHX, *positions), "turned")
            k_BSNX = checkpoint_name(rotate(k_BSNX, *positions), "turned")
        mixed_BSHX = self.attend(q_BSHX, k_BSNX, v_BSNX, document_BS)
        return self.out(checkpoint_name(mixed_BSHX.reshape(B, S, -1), "attention"))


class SwiGLU(nnx.Module):
    """Gated feed-forward layer (Shazeer 2020)."""

    def __init__(self, cfg: config.Model, dtype: Any, rngs: nnx.Rngs) -> None:
        D, F = cfg.d_model, cfg.width_of_ffn
        self.gate = Linear(D, F, D**-0.5, dtype, rngs)
        self.up = Linear(D, F, D**-0.5, dtype, rngs)
        self.down = Linear(F, D, (2 * cfg.n_layers * F) ** -0.5, dtype, rngs)

    def __call__(self, copies: Sequence[Array]) -> Array:
        """`copies`: x (B, S, D) for gate and up, see `norms.RMSNorm.after`."""
        gate_BSF = checkpoint_name(self.gate(copies[0]), "gate")
        up_BSF = checkpoint_name(self.up(copies[1]), "up")
        return self.down(gated(gate_BSF, up_BSF))


class Block(nnx.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, cfg: config.Model, attend: Attend, dtype: Any, rngs: nnx.Rngs) -> None:
        self.attention_norm = norm(cfg.d_model, cfg.norm_eps, dtype, rngs)
        self.attention = Attention(cfg, attend, dtype, rngs)
        self.ffn_norm = norm(cfg.d_model, cfg.norm_eps, dtype, rngs)
        self.ffn = SwiGLU(cfg, dtype, rngs)

    def __call__(self, x_BSD: Array, positions: Positions, document_BS: Array) -> Array:
        x_BSD, copies = self.attention_norm.after(x_BSD, None, readers=3)
        mixed_BSD = self.attention(copies, positions, document_BS)
        x_BSD, copies = self.ffn_norm.after(x_BSD, mixed_BSD, readers=2)
        return x_BSD + self.ffn(copies)


# Measured on 0.2M parameters and 0.4M tokens of text among standard deviations from 0.02 to 1 and gains from
# 0.1 to 1: tied, a token's own logit starts at std · D · gain, so unit embeddings would bet on repetition.
_TIED_STD, _TIED_GAIN = 0.3, 0.2


class Ends(nnx.Module):
    """What stands outside the blocks: embedding, last norm and, unless tied, the output head.

    Width transfer asks the logits to shrink like 1/D against those of a model of base_width. A tied head
    cannot be smaller than the embedding, so there the last norm carries the factor. Either way the weights
    are plain Llama weights.
    """

    def __init__(self, cfg: config.Model, vocab_size: int, base_width: int, dtype: Any, rngs: nnx.Rngs) -> None:
        D, tied = cfg.d_model, cfg.tied_embeddings
        initial = nnx.initializers.normal(_TIED_STD if tied else 1.0)
        self.embed = nnx.Embed(vocab_size, D, dtype=dtype, embedding_init=initial, rngs=rngs)
        self.final_norm = norm(D, cfg.norm_eps, dtype, rngs, _TIED_GAIN * base_width / D if tied else 1.0)
        self.head = None if tied else Linear(D, vocab_size, base_width**0.5 / D, dtype, rngs)

    def head_weights_DV(self) -> Array:
        """The output matrix, whichever leaf holds it."""
        return self.embed.embedding[...].T if self.head is None else self.head.kernel[...]
