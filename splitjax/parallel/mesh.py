"""The mesh: how many devices serve each kind of parallelism."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from splitjax.config import MeshSizes, UserError

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

    Devices of several slices (groups joined by a slower network) are cut by the outermost axes first, so that
    experts lie on slices of their own.

    Args:
        expert: groups of devices that hold different experts.
        data: groups inside an expert that hold the same weights and different windows.
        fsdp: devices that share an expert's weights and optimiser state, and split its windows.
        tensor: devices that share single matrices.
        devices: what to lay out; all that JAX sees by default.

    Raises:
        UserError: the product of the sizes is not the number of devices, or they cannot be cut by slices.
    """
    shape = (expert, data, fsdp, tensor)
    devices = jax.devices() if devices is None else devices
    if min(shape) < 1 or math.prod(shape) != len(devices):
        sizes = MeshSizes(*shape)
        raise UserError(
            f"a mesh of {sizes} is {math.prod(shape)} devices, {len(devices)} are here", where="train.mesh",
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
            f"{slices} slices are no multiple of expert {expert} × data {data}", where="train.mesh",
            mend=f"Weights stay inside a slice: let expert times data be a multiple of {slices}.",
        )
    inside = (expert // over_expert, data // over_data, fsdp, tensor)
    return mesh_utils.create_hybrid_device_mesh(
        inside, (over_expert, over_data, 1, 1), devices, allow_split_physical_axes=True
    )


def default_sizes(devices: int, experts: int) -> MeshSizes:
    """What `train.mesh: null` means: as many groups of experts as divide both, the devices of each as fsdp."""
    groups = math.gcd(devices, experts)
    return MeshSizes(expert=groups, fsdp=devices // groups)


def sizes_for(sizes: MeshSizes, experts: int, windows: int) -> MeshSizes:
    """The same devices for a stack of `experts`, whose number the expert axis must divide.

    What the expert axis cannot use becomes data: each device keeps the share of a model that it has of an expert, so
    a seed that fits as an expert fits as a seed, and the split moves nothing between groups. Where there are too few
    windows for that, the rest becomes tensor.

    Args:
        sizes: for the experts of the run.
        experts: of the stack; 1 for a seed.
        windows: B, over all devices of an expert.
    """
    groups = math.gcd(sizes.expert, experts)
    spare = sizes.expert // groups
    shares = (d for d in range(spare, 0, -1) if spare % d == 0 and windows % (sizes.data * sizes.fsdp * d) == 0)
    data = next(shares, spare)
    return replace(sizes, expert=groups, data=sizes.data * data, tensor=sizes.tensor * (spare // data))


def mesh_of(sizes: MeshSizes, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """`make_mesh` of a config's sizes."""
    return make_mesh(**asdict(sizes), devices=devices)
