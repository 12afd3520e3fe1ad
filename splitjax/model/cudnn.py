"""cuDNN's fused attention for NVIDIA GPUs, with the experts of a stack folded into its batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from splitjax.config import UserError

from . import cudnn_calls, packed
from .attention import Attend
from .per_device import on_each_device

_WIDEST = 128


def unfit(q_BSHX: Array | jax.ShapeDtypeStruct, cap: float | None) -> str | None:
    """Why cuDNN cannot attend with these queries; None: it can."""
    S, X = q_BSHX.shape[1], q_BSHX.shape[3]
    if cap is not None:
        return "it has no soft cap (model.attention_cap)"
    if q_BSHX.dtype != jnp.bfloat16:
        return "it needs train.precision=bfloat16"
    if X % 8 or X > _WIDEST:
        return f"it needs heads whose width is a multiple of 8 up to {_WIDEST}, not {X}"
    return f"it needs windows of even length, not {S}" if S % 2 else None


def attend(q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, document_BS: Array, cap: float | None = None) -> Array:
    """What `attention.attend` computes, by cuDNN.

    Raises:
        UserError: it cannot.
    """
    if why := unfit(q_BSHX, cap):
        raise UserError(f"no cuDNN attention: {why}", where="train.attention", mend="Or set train.attention=xla.")
    return on_each_device(folded(_packed_or_masked), q_BSHX, k_BSNX, v_BSNX, document_BS)


def _packed_or_masked(q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, document_BS: Array) -> Array:
    found = cudnn_calls.calls()
    if isinstance(found, str) or cudnn_calls.unfit(q_BSHX):
        return _masked(q_BSHX, k_BSNX, v_BSNX, document_BS)
    return packed.attention(found)(q_BSHX, k_BSNX, v_BSNX, document_BS)


def _masked(q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, document_BS: Array) -> Array:
    same_BSS = document_BS[:, :, None] == document_BS[:, None, :]
    return jax.nn.dot_product_attention(
        q_BSHX, k_BSNX, v_BSNX, mask=same_BSS[:, None], is_causal=True, implementation="cudnn"
    )


def folded(fused: Attend) -> Attend:
    """`fused`, whose forward and backward passes, mapped over experts, run once over the windows of all experts.

    Attention has no weights, so experts are but more windows. Mapping cuDNN's own primitives instead went wrong in some
    versions of JAX. What the forward pass saves is whatever `fused` saves, each array with windows (or windows · heads)
    first, and numbers.
    """

    def attend(q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, document_BS: Array) -> Array:
        shapes = [(x.shape[1:], x.dtype) for x in (q_BSHX, k_BSNX, v_BSNX)]

        def pullback(q: Any, k: Any, v: Any, document: Any) -> tuple[Array, Any]:
            return jax.vjp(lambda q, k, v: fused(q, k, v, document), q, k, v)

        @_over_windows
        def forward(q: Array, k: Array, v: Array, document: Array) -> tuple[Array, list[Array]]:
            out, pull = pullback(q, k, v, document)
            return out, jax.tree.leaves(pull)

        @_over_windows
        def backward(dout: Array, document: Array, saved: list[Array]) -> tuple[Array, ...]:
            like = [jax.ShapeDtypeStruct((len(dout), *shape), dtype) for shape, dtype in shapes]
            pull = jax.tree.structure(jax.eval_shape(pullback, *like, document)[1])
            return jax.tree.unflatten(pull, saved)(dout)

        @jax.custom_vjp
        def run(q: Array, k: Array, v: Array, document: Array) -> Array:
            return forward(q, k, v, document)[0]

        def run_forward(q: Array, k: Array, v: Array, document: Array) -> tuple[Array, Any]:
            out, saved = forward(q, k, v, document)
            return out, (document, saved)

        def run_backward(kept: Any, dout: Array) -> tuple[Array | None, ...]:
            return (*backward(dout, *kept), None)

        run.defvjp(run_forward, run_backward)
        return run(q_BSHX, k_BSNX, v_BSNX, document_BS)

    return attend


def _over_windows(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays with windows first; under `vmap` the mapped axis joins the windows."""
    mapped = custom_vmap(function)

    @mapped.def_vmap
    def _(size: int, batched: Any, *args: Any) -> tuple[Any, Any]:
        def join(x: Array, has_axis: bool) -> Array:
            x = x if has_axis or not x.ndim else jnp.broadcast_to(x, (size, *x.shape))
            return x.reshape(size * x.shape[1], *x.shape[2:]) if x.ndim else x

        def part(x: Array) -> Array:
            return x.reshape(size, len(x) // size, *x.shape[1:]) if x.ndim else x

        done = mapped(*jax.tree.map(join, list(args), list(batched)))
        return jax.tree.map(part, done), jax.tree.map(lambda x: x.ndim > 0, done)

    return mapped
