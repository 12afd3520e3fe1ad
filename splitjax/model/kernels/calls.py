"""How Triton kernels are called: in blocks of rows, on every device for what it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jax.sharding import PartitionSpec

from splitjax.parallel import spec_for

_WARPS = 8
_INTERPRETED = False
"""Tests run the kernels on CPUs."""


def runs() -> bool:
    """Whether Triton's kernels run on the machine at hand."""
    return jax.default_backend() == "gpu"


def fitting(rows: int, most: int) -> int:
    """The largest power of two up to `most` that divides the rows."""
    size = 1
    while size * 2 <= most and rows % (size * 2) == 0:
        size *= 2
    return size


def call(
    kernel: Callable[..., None], programs: int, arrays: Sequence[Array], blocks: Sequence[int],
    out: Sequence[jax.ShapeDtypeStruct], out_blocks: Sequence[int],
) -> list[Array]:
    """Run programs over blocks of so many rows of the first arrays and of the results; the other arrays come whole."""

    def cut(rows: int, width: int) -> pl.BlockSpec:
        return pl.BlockSpec((rows, width), lambda n: (n, 0))

    def whole(x: Array) -> pl.BlockSpec:
        return pl.BlockSpec(x.shape, lambda n: (0,) * x.ndim)

    specs = [cut(rows, x.shape[1]) for x, rows in zip(arrays, blocks, strict=False)]
    return pl.pallas_call(
        kernel,
        grid=(programs,),
        in_specs=[*specs, *(whole(x) for x in arrays[len(blocks) :])],
        out_specs=[cut(rows, one.shape[1]) for one, rows in zip(out, out_blocks, strict=True)],
        out_shape=list(out),
        compiler_params=triton.CompilerParams(num_warps=_WARPS),
        interpret=_INTERPRETED,
    )(*arrays)


def on_each_device(
    local: Callable[..., list[Array]], axes: tuple[str | None, ...], shared: Sequence[Array], arrays: Sequence[Array],
    like: int, sums: int = 0,
) -> list[Array]:
    """`local` on every device of the mesh around the trace, of the rows it holds; no mesh: as it is.

    Args:
        axes: names of the axes of `arrays`.
        shared: arrays that every device has whole.
        like: results that lie as `arrays` do.
        sums: results behind them with one row for each of a device's programs.
    """
    mesh: Any = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return local(*shared, *arrays)
    spec = spec_for(axes, arrays[0].shape, mesh)
    cut = [name for place in spec if place is not None for name in ((place,) if isinstance(place, str) else place)]
    mapped = jax.shard_map(
        local, mesh=mesh, in_specs=(*(PartitionSpec(),) * len(shared), *(spec,) * len(arrays)),
        out_specs=[*(spec,) * like, *(PartitionSpec(tuple(cut), None),) * sums], check_vma=False,
    )
    return mapped(*shared, *arrays)
