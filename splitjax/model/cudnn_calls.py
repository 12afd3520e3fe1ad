"""cuDNN's attention kernels as JAX hands them to XLA: a private module of JAX, asked before it is trusted.

`jax.nn` has no argument for documents packed behind each other. The primitives below it have, and say more than the
function around them: documents are counted over all windows of a call instead of in each, and starts of keys are in
strides of keys (jax 0.10 takes those of queries, wrong where heads share keys).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

_MODULE = "jax._src.cudnn.fused_attention_stablehlo"
_NEWER = {"score_mod_name": None, "score_mod_jaxpr": None}
"""Parameters of the primitives from jax 0.12 on."""
_LAST_ELEMENT = 2**31
_HOPPER = (9, 0)


@dataclass(frozen=True)
class Calls:
    """`packed.Kernels` by cuDNN.

    Attributes:
        more: parameters that this version of JAX has beside those of the first.
    """

    more: tuple[tuple[str, Any], ...] = ()

    def forward(self, q: Array, k: Array, v: Array, packed: tuple[Array, Array] | None) -> tuple[Array, Array]:
        return self._forward(q, k, v, jnp.zeros(0, q.dtype), _where(q, k, packed))

    def backward(
        self, q: Array, k: Array, v: Array, out: Array, statistics: Array, dout: Array,
        packed: tuple[Array, Array] | None,
    ) -> tuple[Array, ...]:
        return self._backward(q, k, v, jnp.zeros(0, q.dtype), _where(q, k, packed), (statistics, out, dout))

    def masked(self, q: Array, k: Array, v: Array, document_BS: Array) -> tuple[Array, Array]:
        return self._forward(q, k, v, _hidden(document_BS, q.dtype), _where(q, k, None))

    def masked_backward(
        self, q: Array, k: Array, v: Array, out: Array, statistics: Array, dout: Array, document_BS: Array
    ) -> tuple[Array, ...]:
        return self._backward(q, k, v, _hidden(document_BS, q.dtype), _where(q, k, None), (statistics, out, dout))

    def _forward(self, q: Array, k: Array, v: Array, bias: Array, where: tuple[Array, ...]) -> tuple[Array, Array]:
        fused: Any = importlib.import_module(_MODULE)
        out, statistics = fused._dot_product_attention_fwd_p.bind(
            q, k, v, bias, *where, **self._parameters(q, bias, where), is_training=True
        )
        return out, statistics

    def _backward(
        self, q: Array, k: Array, v: Array, bias: Array, where: tuple[Array, ...], saved: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        fused: Any = importlib.import_module(_MODULE)
        grads = fused._dot_product_attention_bwd_p.bind(
            q, k, v, bias, *where, *saved, **self._parameters(q, bias, where)
        )
        return tuple(grads[:3])

    def _parameters(self, q: Array, bias: Array, where: tuple[Array, ...]) -> dict[str, Any]:
        fused: Any = importlib.import_module(_MODULE)
        mask = fused.MaskType.PADDING_CAUSAL if where[0].ndim == 2 else fused.MaskType.CAUSAL
        # The second of variadic_args: whether the gradient of the bias is wanted, an array of S × S a window.
        return {
            "scale": q.shape[-1] ** -0.5, "seed": 42, "dropout_rate": 0.0, "variadic_args": (bias.ndim == 4, False),
            "mask_type": mask, "layout": fused.AttentionLayout.BTNH.value, "sliding_window_length": None,
            **dict(self.more),
        }


def _where(q_BSHX: Array, k_BSNX: Array, packed: tuple[Array, Array] | None) -> tuple[Array, ...]:
    """Lengths of queries and keys and their starts in elements, as cuDNN counts, and two page tables that are not
    used."""
    nothing = jnp.zeros(0, q_BSHX.dtype)
    if packed is None:
        return (nothing,) * 6
    B = len(q_BSHX)
    length_M, start_M1 = packed
    length_BM = length_M.reshape(B, -1)
    # One start more a window than lengths is JAX's shape for them; read are the first M + 1 of them all.
    start_BM1 = jnp.pad(start_M1, (0, B - 1), mode="edge").reshape(B, -1)
    strides = [x.shape[2] * x.shape[3] for x in (q_BSHX, k_BSNX)]
    return (length_BM, length_BM, *(start_BM1 * stride for stride in strides), nothing, nothing)


def _hidden(document_BS: Array, dtype: Any) -> Array:
    """A bias (B, 1, S, S) that hides other documents; causality is the kernel's."""
    same_BSS = document_BS[:, :, None] == document_BS[:, None, :]
    return jnp.where(same_BSS, 0, -(2.0**40)).astype(dtype)[:, None]


def unfit(q_BSHX: Array | jax.ShapeDtypeStruct) -> str | None:
    """Why documents cannot be packed in a call with these queries; None: they can."""
    if isinstance(found := calls(), str):
        return found
    if q_BSHX.size >= _LAST_ELEMENT:
        return f"cuDNN counts elements up to 2^31, and queries have {q_BSHX.size:,}"
    if compute_capability() < _HOPPER:
        return "it needs a GPU of compute capability 9.0 (Hopper) or later"
    return None


def compute_capability() -> tuple[int, ...]:
    """Of the first device; (0,) of what is no NVIDIA GPU."""
    return tuple(map(int, str(getattr(jax.devices()[0], "compute_capability", "0")).split(".")))


@cache
def calls() -> Calls | str:
    """The calls as this version of JAX takes them, found by lowering one (nothing is run); or why there are none."""
    said = "they are not there"
    for more in ({}, _NEWER):
        found = Calls(tuple(more.items()))
        try:
            text = _lowered(found)
        except Exception as error:  # whatever a private module that changed says
            said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        if all(sign in text for sign in ("__cudnn$fmhaSoftmax", "Backward", "PADDING_CAUSAL", "max_seg_per_batch")):
            return found
        said = "their lowering changed"
    return f"this JAX ({jax.__version__}) has other cuDNN calls ({said})"


def _lowered(found: Calls) -> str:
    """StableHLO for a GPU of both passes over two windows of three documents."""

    def both(q: Array, k: Array, lengths: Array, starts: Array) -> Any:
        out, statistics = found.forward(q, k, k, (lengths, starts))
        return found.backward(q, k, k, out, statistics, out, (lengths, starts))

    shapes = [((2, 64, 4, 64), jnp.bfloat16), ((2, 64, 2, 64), jnp.bfloat16), ((4,), jnp.int32), ((5,), jnp.int32)]
    traced = jax.jit(both).trace(*(jax.ShapeDtypeStruct(*shape) for shape in shapes))
    return traced.lower(lowering_platforms=("cuda",)).as_text()
