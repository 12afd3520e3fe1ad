"""The gate of a feed-forward layer, with its gradients taken together."""

from __future__ import annotations

import jax
from jax import Array

from .kernels import gate_kernels


@jax.custom_vjp
def gated(gate_BSF: Array, up_BSF: Array) -> Array:
    """silu(gate) · up (Shazeer 2020)."""
    return jax.nn.silu(gate_BSF) * up_BSF


def _forward(gate_BSF: Array, up_BSF: Array) -> tuple[Array, tuple[Array, Array]]:
    return gated(gate_BSF, up_BSF), (gate_BSF, up_BSF)


def _backward(saved: tuple[Array, Array], dout_BSF: Array) -> tuple[Array, Array]:
    take = gate_kernels.gradients if gate_kernels.fit(dout_BSF) else gate_kernels.by_formula
    return take(*saved, dout_BSF)


gated.defvjp(_forward, _backward)
