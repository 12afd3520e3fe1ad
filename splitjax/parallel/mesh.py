"""The mesh: how many devices serve each kind of parallelism."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
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
    devices = jax.devices() if devices is None else devices
    if min(shape) < 1 or math.prod(shape) != len(devices):
        sizes = " x ".join(f"{name} {size}" for name, size in zip(AXES, shape, strict=True))
        raise UserError(
            f"a mesh of {sizes} is {math.prod(shape)} devices, {len(devices)} are here",
            mend="Make the product equal.",
        )
    # Auto: the compiler places what we do not; jax 0.10 to 0.12 differ in the default.
    return Mesh(layout(shape, devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def layout(shape: tuple[int, ...], devices: Sequence[Any]) -> np.ndarray:
    """The devices in the shape of the mesh: neighbours on a torus near each other, slices apart.

    Over several slices `expert`, then `data` takes the slow network: what the other axes say cannot wait for it.
    """
    slices = len({getattr(device, "slice_index", None) for device in devices})
    if slices == 1 or devices[0].platform != "tpu":  # GPU nodes are slices too, on a network that FSDP may use
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    expert, data, fsdp, tensor = shape
    over_expert = math.gcd(expert, slices)
    over_data = slices // over_expert
    if data % over_data:
        raise UserError(
            f"{slices} slices are no multiple of expert {expert} x data {data}",
            mend=f"Weights stay inside a slice: let expert times data be a multiple of {slices}.",
        )
    inside = (expert // over_expert, data // over_data, fsdp, tensor)
    return mesh_utils.create_hybrid_device_mesh(
        inside, (over_expert, over_data, 1, 1), devices, allow_split_physical_axes=True
    )
