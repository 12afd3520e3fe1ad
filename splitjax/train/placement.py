"""Where a stack, its batches and its controls lie: one device, or a mesh whose `expert` axis holds whole experts."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from splitjax.model import logical_axes
from splitjax.parallel import batch_sharding, spec_for

Tree = Any
T = TypeVar("T")


class Placement:
    """Shardings of everything a step touches.

    Args:
        mesh: from `parallel.make_mesh`; None is the first device.
    """

    def __init__(self, mesh: Mesh | None) -> None:
        self.mesh = mesh

    def leaf(self, name: str, shape: tuple[int, ...]) -> Sharding:
        """A leaf of a stack ("params.layers.query.kernel"), its shape with the expert axis."""
        if self.mesh is None:
            return SingleDeviceSharding(jax.local_devices()[0])
        _field, *path = name.split(".")
        axes = logical_axes(tuple(path), len(shape)) if path else ("expert", *(None,) * (len(shape) - 1))
        return NamedSharding(self.mesh, spec_for(axes, shape, self.mesh))

    def constrain(self, stack: T) -> T:
        """The stack, told to the compiler to lie where `leaf` says."""
        if self.mesh is None:
            return stack

        def one(path: Any, leaf: Array) -> Array:
            name = ".".join(str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path)
            return jax.lax.with_sharding_constraint(leaf, self.leaf(name, leaf.shape))

        return jax.tree_util.tree_map_with_path(one, stack)

    def put(self, values: Tree) -> Tree:
        """Host arrays (K, …) → devices, experts over the expert axis."""
        if self.mesh is None:
            return jax.device_put(values, SingleDeviceSharding(jax.local_devices()[0]))
        return jax.device_put(values, NamedSharding(self.mesh, PartitionSpec("expert")))

    def put_batch(self, tokens_KBT: np.ndarray) -> Array:
        """A batch → devices, experts over the expert axis and windows over the data axes."""
        if self.mesh is None:
            return jax.device_put(tokens_KBT, SingleDeviceSharding(jax.local_devices()[0]))
        return jax.device_put(tokens_KBT, batch_sharding(self.mesh, tokens_KBT.shape))

    @property
    def expert_groups(self) -> int:
        """Groups of devices that hold different experts."""
        return 1 if self.mesh is None else self.mesh.shape["expert"]
