"""RMSNorm together with what stands around it: the sum before it, its several readers, the rotation behind it.

Taken apart, each of these reads and writes the residual stream or the queries once more: on an accelerator that is
what a layer waits for between its products. XLA fuses what it can of the formulas here; on NVIDIA GPUs kernels do all
of one direction in one pass (see `norm_kernels`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import ArrayLike

from .attention import turn
from .kernels import norm_kernels


class RMSNorm(nnx.RMSNorm):
    """RMSNorm whose statistics and gain are float32 whatever its input is; the result has the input's type."""

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        assert mask is None, "no masked norm here"
        return _norm(x, None, self._gain, self.epsilon, 1)[1]

    @property
    def _gain(self) -> Array:
        assert self.scale is not None
        return self.scale[...]

    def after(self, x_BSD: Array, added_BSD: Array | None, readers: int) -> tuple[Array, tuple[Array, ...]]:
        """(x + added, the norm of this sum once for each of its readers).

        Every reader sends back a gradient of its own, and so does the sum. With a result for each it is the norm's
        backward pass that adds them, where they are read anyway.

        Args:
            added_BSD: None adds nothing.
        """
        total_BSD, *normed = _norm(x_BSD, added_BSD, self._gain, self.epsilon, readers)
        return total_BSD, tuple(normed)

    def turned(self, x_BSHX: Array, cos: ArrayLike, sin: ArrayLike) -> Array:
        """The norm, turned by position as by `attention.rotate`."""
        return _turned_norm(x_BSHX, self._gain, cos, sin, self.epsilon)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _norm(x: Array, added: Array | None, scale_D: Array, epsilon: float, readers: int) -> tuple[Array, ...]:
    """x + added, then as many times its norm."""
    return _norm_forward(x, added, scale_D, epsilon, readers)[0]


def _norm_forward(
    x: Array, added: Array | None, scale_D: Array, epsilon: float, readers: int
) -> tuple[tuple[Array, ...], Any]:
    if norm_kernels.fit(x):
        total, normed = norm_kernels.norm(x, added, scale_D, epsilon)
    else:
        total = x if added is None else x + added
        wide = _wide(total)
        normed = (wide * (_inverse_root(wide, epsilon) * scale_D)).astype(x.dtype)
    return (total, *(normed,) * readers), (total, scale_D, added is None)


def _norm_backward(epsilon: float, _: int, saved: Any, cotangents: tuple[Array, ...]) -> tuple[Array | None, ...]:
    total, scale_D, alone = saved
    if norm_kernels.fit(total):
        dx, dscale = norm_kernels.norm_gradient(total, scale_D, epsilon, cotangents)
    else:
        dtotal, dnormed, *others = cotangents
        for other in others:  # the latest product first: XLA adds the rest to it as it is written
            dnormed = other + dnormed
        dx, dscale = _pull_back(total, scale_D, epsilon, _wide(dnormed))
        dx += dtotal
    dx = dx.astype(total.dtype)
    return dx, None if alone else dx, dscale.astype(scale_D.dtype)


_norm.defvjp(_norm_forward, _norm_backward)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _turned_norm(x_BSHX: Array, scale_X: Array, cos: ArrayLike, sin: ArrayLike, epsilon: float) -> Array:
    return _turned_norm_forward(x_BSHX, scale_X, cos, sin, epsilon)[0]


def _turned_norm_forward(
    x_BSHX: Array, scale_X: Array, cos: ArrayLike, sin: ArrayLike, epsilon: float
) -> tuple[Array, Any]:
    if norm_kernels.fit(x_BSHX, turned=True):
        out = norm_kernels.turned_norm(x_BSHX, scale_X, cos, sin, epsilon)
    else:
        wide = _wide(x_BSHX)
        out = turn(wide * (_inverse_root(wide, epsilon) * scale_X), cos, sin).astype(x_BSHX.dtype)
    return out, (x_BSHX, scale_X, cos, sin)


def _turned_norm_backward(epsilon: float, saved: Any, dout: Array) -> tuple[Array, Array, None, None]:
    x_BSHX, scale_X, cos, sin = saved
    if norm_kernels.fit(x_BSHX, turned=True):
        dx, dscale = norm_kernels.turned_norm_gradient(x_BSHX, scale_X, cos, sin, epsilon, dout)
    else:
        dx, dscale = _pull_back(x_BSHX, scale_X, epsilon, turn(_wide(dout), cos, -sin))
    return dx.astype(x_BSHX.dtype), dscale.astype(scale_X.dtype), None, None


_turned_norm.defvjp(_turned_norm_forward, _turned_norm_backward)


def _pull_back(x: Array, scale: Array, epsilon: float, dnormed: Array) -> tuple[Array, Array]:
    """Gradients of x and the gain, wide, from that of the norm.

    The root is not kept but taken anew: its sum is read off in the same pass as that of the gradient.
    """
    x = _wide(x)
    root = _inverse_root(x, epsilon)
    pulled = dnormed * scale
    mean = jnp.mean(pulled * x, axis=-1, keepdims=True)
    dscale = jnp.sum(dnormed * (x * root), axis=tuple(range(x.ndim - 1)))
    return root * (pulled - x * (root * root * mean)), dscale


def _inverse_root(x: Array, epsilon: float) -> Array:
    return jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon)


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
