"""The gradient of a SwiGLU's gate in one pass over memory (Pallas, by way of Triton), for NVIDIA GPUs.

XLA writes the gradients of gate and up by a fusion each, and each reads the incoming gradient and the gate.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from . import calls
from .calls import call, fitting, on_each_device

_AT_ONCE = 4096
_LEAST = 512
"""Elements that a program is worth starting for."""
_FFN = ("batch", None, "ffn")


def fit(x_BSF: Array) -> bool:
    """Whether the kernel takes such arrays here."""
    return calls.runs() and x_BSF.ndim == 3


def gradients(gate_BSF: Array, up_BSF: Array, dout_BSF: Array) -> tuple[Array, Array]:
    """Gradients of gate and up from that of silu(gate) · up; read and written once."""

    def local(gate: Array, up: Array, dout: Array) -> list[Array]:
        width = fitting(gate.size, _AT_ONCE)
        if width < _LEAST:
            return list(by_formula(gate, up, dout))
        rows = [x.reshape(-1, width) for x in (gate, up, dout)]
        out = [jax.ShapeDtypeStruct(rows[0].shape, gate.dtype)] * 2
        done = call(_kernel, len(rows[0]), rows, [1] * 3, out, [1] * 2)
        return [one.reshape(gate.shape) for one in done]

    dgate, dup = on_each_device(local, _FFN, [], [gate_BSF, up_BSF, dout_BSF], like=2)
    return dgate, dup


def by_formula(gate: Array, up: Array, dout: Array) -> tuple[Array, Array]:
    """`gradients`, in float32 and rounded once."""
    wide_gate, wide_up, wide_dout = (x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in (gate, up, dout))
    share = jax.nn.sigmoid(wide_gate)
    silu = wide_gate * share
    # d silu = share + silu · (1 - share)
    dgate = wide_dout * wide_up * (share + silu * (1.0 - share))
    return dgate.astype(gate.dtype), (wide_dout * silu).astype(up.dtype)


def _kernel(gate_ref: Any, up_ref: Any, dout_ref: Any, dgate_ref: Any, dup_ref: Any) -> None:
    dgate_ref[...], dup_ref[...] = by_formula(gate_ref[...], up_ref[...], dout_ref[...])
