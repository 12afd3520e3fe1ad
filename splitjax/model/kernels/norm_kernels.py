"""Norms of `norms` as kernels of one pass over memory (Pallas, by way of Triton), for NVIDIA GPUs.

XLA gives a norm two kernels each way, for none of its fusions sums a row and then writes it; and it lays the stream
out by position, so that a row is strided. A program here holds whole rows in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jax.typing import ArrayLike

from . import calls
from .calls import call, fitting, on_each_device

_WIDEST = 8192
_AT_ONCE = 4096
"""Elements of an array that a program holds at once: 16 a thread."""
_STREAM_ROWS = 32
_HEAD_ROWS = 256
"""Rows that a program pulls back; they give one row of sums for the gain's gradient."""
_STREAM = ("batch", None, None)
_HEADS = ("batch", None, "heads", None)


def fit(x: Array, turned: bool = False) -> bool:
    """Whether a kernel takes rows of such an array here. Rows to be turned come in halves, which have no mask."""
    width = x.shape[-1]
    return calls.runs() and width <= _WIDEST and not (turned and width & (width - 1))


def norm(x_BSD: Array, added_BSD: Array | None, scale_D: Array, epsilon: float) -> tuple[Array, Array]:
    """(x + added, the norm of it)."""
    arrays = [x_BSD] if added_BSD is None else [x_BSD, added_BSD]

    def local(scale_D: Array, *arrays: Array) -> list[Array]:
        rows = [_rows(x) for x in arrays]
        N, D = rows[0].shape
        block = fitting(N, _AT_ONCE // pl.next_power_of_2(D))
        out = [jax.ShapeDtypeStruct((N, D), x_BSD.dtype)] * len(rows)
        kernel = partial(_norm_kernel, epsilon=epsilon)
        done = call(kernel, N // block, [*rows, scale_D], [block] * len(rows), out, [block] * len(rows))
        return [one.reshape(arrays[0].shape) for one in done]

    *total, normed = on_each_device(local, _STREAM, [scale_D], arrays, like=len(arrays))
    return (total[0] if total else x_BSD), normed


def norm_gradient(
    total_BSD: Array, scale_D: Array, epsilon: float, cotangents: Sequence[Array]
) -> tuple[Array, Array]:
    """Gradients of the sum and of the gain.

    Args:
        cotangents: of the sum, then of each of its norms.
    """

    def local(scale_D: Array, *arrays: Array) -> list[Array]:
        rows = [_rows(x) for x in arrays]
        N, D = rows[0].shape
        block = fitting(N, _STREAM_ROWS)
        step = min(block, fitting(N, _AT_ONCE // 2 // pl.next_power_of_2(D)))
        out = [jax.ShapeDtypeStruct((N, D), total_BSD.dtype), jax.ShapeDtypeStruct((N // block, D), jnp.float32)]
        kernel = partial(_norm_gradient_kernel, epsilon=epsilon, step=step)
        dx, sums = call(kernel, N // block, [*rows, scale_D], [block] * len(rows), out, [block, 1])
        return [dx.reshape(arrays[0].shape), sums]

    dx, sums = on_each_device(local, _STREAM, [scale_D], [total_BSD, *cotangents], like=1, sums=1)
    return dx, sums.sum(axis=0)


def turned_norm(x_BSHX: Array, scale_X: Array, cos: ArrayLike, sin: ArrayLike, epsilon: float) -> Array:
    """The norm, turned by position."""

    def local(scale_X: Array, cos: Array, sin: Array, x: Array) -> list[Array]:
        rows = _rows(x)
        block = fitting(len(rows), 2 * _AT_ONCE // rows.shape[1])
        out = [jax.ShapeDtypeStruct(rows.shape, x.dtype)]
        kernel = partial(_turned_kernel, epsilon=epsilon, heads=x.shape[2])
        done = call(kernel, len(rows) // block, [rows, scale_X, cos, sin], [block], out, [block])
        return [done[0].reshape(x.shape)]

    return on_each_device(local, _HEADS, [scale_X, jnp.asarray(cos), jnp.asarray(sin)], [x_BSHX], like=1)[0]


def turned_norm_gradient(
    x_BSHX: Array, scale_X: Array, cos: ArrayLike, sin: ArrayLike, epsilon: float, dout: Array
) -> tuple[Array, Array]:
    """Gradients of x and of the gain."""

    def local(scale_X: Array, cos: Array, sin: Array, x: Array, dout: Array) -> list[Array]:
        rows, drows = _rows(x), _rows(dout)
        N, X = rows.shape
        block = fitting(N, _HEAD_ROWS)
        step = min(block, fitting(N, _AT_ONCE // X))
        out = [jax.ShapeDtypeStruct((N, X), x.dtype), jax.ShapeDtypeStruct((N // block, X), jnp.float32)]
        kernel = partial(_turned_gradient_kernel, epsilon=epsilon, heads=x.shape[2], step=step)
        dx, sums = call(kernel, N // block, [rows, drows, scale_X, cos, sin], [block] * 2, out, [block, 1])
        return [dx.reshape(x.shape), sums]

    tables = [scale_X, jnp.asarray(cos), jnp.asarray(sin)]
    dx, sums = on_each_device(local, _HEADS, tables, [x_BSHX, dout], like=1, sums=1)
    return dx, sums.sum(axis=0)


def _norm_kernel(x_ref: Any, *refs: Any, epsilon: float) -> None:
    """Further references: what to add, the gain, the sum, the norm; without the first also no third."""
    *added, scale_ref, normed_ref = refs if len(refs) == 2 else (refs[0], refs[1], refs[3])
    block, width = x_ref.shape
    rows = jnp.arange(block)
    x = _load(x_ref, rows)
    if added:
        total = (x + _load(added[0], rows)).astype(normed_ref.dtype)  # what is normed is what others read
        _store(refs[2], rows, total)
        x = total.astype(jnp.float32)
    root = jax.lax.rsqrt(jnp.sum(x * x, axis=1, keepdims=True) / width + epsilon)
    _store(normed_ref, rows, x * (root * _load_row(scale_ref)))


def _norm_gradient_kernel(x_ref: Any, dtotal_ref: Any, *refs: Any, epsilon: float, step: int) -> None:
    *dnormed_refs, scale_ref, dx_ref, sums_ref = refs
    block, width = x_ref.shape
    scale = _load_row(scale_ref)

    def pull_back(number: Array, sums: Array) -> Array:
        rows = number * step + jnp.arange(step)
        x = _load(x_ref, rows)
        dnormed = sum((_load(ref, rows) for ref in dnormed_refs[1:]), _load(dnormed_refs[0], rows))
        root = jax.lax.rsqrt(jnp.sum(x * x, axis=1, keepdims=True) / width + epsilon)
        pulled = dnormed * scale
        mean = jnp.sum(pulled * x, axis=1, keepdims=True) / width
        _store(dx_ref, rows, _load(dtotal_ref, rows) + root * (pulled - x * (root * root * mean)))
        return sums + jnp.sum(dnormed * (x * root), axis=0, keepdims=True)

    sums = jax.lax.fori_loop(0, block // step, pull_back, jnp.zeros(scale.shape, jnp.float32))
    _store(sums_ref, jnp.arange(1), sums)


def _turned_kernel(
    x_ref: Any, scale_ref: Any, cos_ref: Any, sin_ref: Any, out_ref: Any, *, epsilon: float, heads: int
) -> None:
    block, width = x_ref.shape
    rows, half = jnp.arange(block), width // 2
    first, second = x_ref[:, :half].astype(jnp.float32), x_ref[:, half:].astype(jnp.float32)
    square = jnp.sum(first * first + second * second, axis=1, keepdims=True)
    root = jax.lax.rsqrt(square / width + epsilon)
    first, second = first * (root * scale_ref[:half][None]), second * (root * scale_ref[half:][None])
    cos, sin = _of_position((cos_ref, sin_ref), pl.program_id(0) * block + rows, heads)
    out_ref[:, :half] = (first * cos - second * sin).astype(out_ref.dtype)
    out_ref[:, half:] = (second * cos + first * sin).astype(out_ref.dtype)


def _turned_gradient_kernel(
    x_ref: Any, dout_ref: Any, scale_ref: Any, cos_ref: Any, sin_ref: Any, dx_ref: Any, sums_ref: Any, *,
    epsilon: float, heads: int, step: int,
) -> None:
    block, width = x_ref.shape
    half = width // 2
    scale = scale_ref[:half][None], scale_ref[half:][None]
    start = pl.program_id(0) * block

    def pull_back(number: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        here = pl.ds(number * step, step)
        halves = (slice(0, half), slice(half, width))
        x = [x_ref[here, part].astype(jnp.float32) for part in halves]
        dfirst, dsecond = (dout_ref[here, part].astype(jnp.float32) for part in halves)
        cos, sin = _of_position((cos_ref, sin_ref), start + number * step + jnp.arange(step), heads)
        dnormed = dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin
        root = jax.lax.rsqrt(jnp.sum(x[0] * x[0] + x[1] * x[1], axis=1, keepdims=True) / width + epsilon)
        pulled = dnormed[0] * scale[0], dnormed[1] * scale[1]
        mean = jnp.sum(pulled[0] * x[0] + pulled[1] * x[1], axis=1, keepdims=True) / width
        for n, part in enumerate(halves):
            dx_ref[here, part] = (root * (pulled[n] - x[n] * (root * root * mean))).astype(dx_ref.dtype)
        dgain = [jnp.sum(dnormed[n] * (x[n] * root), axis=0, keepdims=True) for n in range(2)]
        return sums[0] + dgain[0], sums[1] + dgain[1]

    zero = jnp.zeros((1, half), jnp.float32)
    sums = jax.lax.fori_loop(0, block // step, pull_back, (zero, zero))
    sums_ref[:, :half], sums_ref[:, half:] = sums


def _of_position(tables: Sequence[Any], rows: Array, heads: int) -> list[Array]:
    """Rows of (S, X/2) tables for (window, position, head) rows."""
    positions = rows // heads % tables[0].shape[0]
    columns = jnp.arange(tables[0].shape[1])
    return [triton.load(table.at[positions[:, None], columns[None, :]]) for table in tables]


def _load(ref: Any, rows: Array) -> Array:
    """Rows of a block in float32; beyond their width, which Triton wants to be a power of two, zeros."""
    columns, mask = _columns(ref, len(rows))
    return triton.load(ref.at[rows[:, None], columns], mask=mask, other=0.0).astype(jnp.float32)


def _load_row(ref: Any) -> Array:
    columns, mask = _columns(ref, 1)
    return triton.load(ref.at[columns[0]], mask=mask[0], other=0.0)[None].astype(jnp.float32)


def _store(ref: Any, rows: Array, values: Array) -> None:
    columns, mask = _columns(ref, len(rows))
    triton.store(ref.at[rows[:, None], columns], values.astype(ref.dtype), mask=mask)


def _columns(ref: Any, rows: int) -> tuple[Array, Array]:
    width = ref.shape[-1]
    columns = jnp.arange(pl.next_power_of_2(width))[None]
    return columns, jnp.broadcast_to(columns < width, (rows, columns.shape[1]))


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])
