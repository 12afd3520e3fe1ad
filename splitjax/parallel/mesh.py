"""The mesh: how many devices serve each kind of parallelism."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

from splitjax.config import UserError

AXES = ("expert", "data", "fsdp", "tensor")
"""Outermost first: experts never talk to each other, tensor shards talk in every layer and so lie nearest."""


def make_mesh(
    *,
    expert: int = 1,
    data: int = 1,
    fsdp: int = 1,
    tensor: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """A mesh of `expert` x `data` x `fsdp` x `tensor` devices.

    Args:
        expert: groups of devices that hold different experts.
        data: groups inside an expert that hold the same weights and different windows.
        fsdp: devices that share an expert's weights and optimiser state, and split its windows.
        tensor: devices that share single matrices.
        devices: what to lay out; all that JAX sees by default.

    Raises:
        UserError: the product of the sizes is not the number of devices.
    """
    shape = (expert, data, fsdp, tensor)
    found = len(devices) if devices is not None else jax.device_count()
    if min(shape) < 1 or math.prod(shape) != found:
        sizes = " x ".join(f"{name} {size}" for name, size in zip(AXES, shape, strict=True))
        raise UserError(
            f"a mesh of {sizes} is {math.prod(shape)} devices, {found} are here",
            mend="Make the product equal.",
        )
    # Auto: the compiler places what we do not; jax 0.10 to 0.12 differ in the default.
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)
