"""Where a stack, its batches and its controls lie: one device, or a mesh whose `expert` axis holds whole experts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from splitjax.model import logical_axes
from splitjax.parallel import batch_sharding, constrain, spec_for

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

    def active(self) -> AbstractContextManager[Any]:
        """The mesh as the surroundings of a trace: kernels that the compiler cannot cut up ask for it."""
        return nullcontext() if self.mesh is None else jax.set_mesh(self.mesh)

    def constrain(self, stack: T) -> T:
        """The stack, told to the compiler to lie where `leaf` says."""
        if self.mesh is None:
            return stack

        def one(path: Any, leaf: Array) -> Array:
            return jax.lax.with_sharding_constraint(leaf, self.leaf(_name(path), leaf.shape))

        return jax.tree_util.tree_map_with_path(one, stack)

    def shapes(self, stack: T, tokens_KBT: Any, controls: Tree) -> tuple[T, Any, Tree]:
        """Shapes of what a step takes, each told where it lies."""

        def at(shape: Any, place: Sharding) -> Any:
            return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=place)

        def leaf(path: Any, shape: Any) -> Any:
            return at(shape, self.leaf(_name(path), shape.shape))

        placed = jax.tree_util.tree_map_with_path(leaf, stack)
        if self.mesh is None:
            return placed, tokens_KBT, controls
        row = NamedSharding(self.mesh, PartitionSpec("expert"))
        tokens = at(tokens_KBT, batch_sharding(self.mesh, tokens_KBT.shape))
        return placed, tokens, jax.tree.map(lambda one: at(one, row), controls)

    def put(self, values: Tree) -> Tree:
        """Host arrays (K, …), the same on every process → devices, experts over the expert axis."""
        if self.mesh is None:
            return jax.device_put(values, SingleDeviceSharding(jax.local_devices()[0]))
        place = NamedSharding(self.mesh, PartitionSpec("expert"))
        if jax.process_count() == 1:
            return jax.device_put(values, place)
        return jax.tree.map(lambda one: jax.make_array_from_callback(one.shape, place, one.__getitem__), values)

    def fetch(self, values_K: Array) -> np.ndarray:
        """A leaf (K, …) on the host, of all experts on every process."""
        if not values_K.is_fully_addressable:
            assert self.mesh is not None
            values_K = jax.jit(lambda leaf: leaf, out_shardings=NamedSharding(self.mesh, PartitionSpec()))(values_K)
        return np.asarray(values_K)

    def put_batch(self, tokens_KBT: np.ndarray, experts: int, batch_size: int) -> Array:
        """This process's part of a batch (see `local`) → devices: experts over the expert axis, windows over the rest.

        Args:
            experts: K over all processes.
            batch_size: B over all processes.
        """
        if self.mesh is None:
            return jax.device_put(tokens_KBT, SingleDeviceSharding(jax.local_devices()[0]))
        shape = (experts, batch_size, tokens_KBT.shape[-1])
        return jax.make_array_from_process_local_data(batch_sharding(self.mesh, shape), tokens_KBT, shape)

    def local(self, experts: int, batch_size: int) -> tuple[range, slice]:
        """The experts, and of each batch the rows, whose tokens this process must bring."""
        if self.mesh is None:
            return range(experts), slice(0, batch_size)
        shape = (experts, batch_size, 1)
        pieces = batch_sharding(self.mesh, shape).addressable_devices_indices_map(shape)
        where = [index or () for index in pieces.values()]
        spans = [_span([index[axis].indices(size) for index in where]) for axis, size in enumerate(shape[:2])]
        return range(*spans[0]), slice(*spans[1])

    @property
    def platform(self) -> str:
        """Of the devices: of a topology compiled for from elsewhere, that one's."""
        return jax.default_backend() if self.mesh is None else self.mesh.devices.flat[0].platform

    @property
    def expert_groups(self) -> int:
        """Groups of devices that hold different experts."""
        return 1 if self.mesh is None else self.mesh.shape["expert"]


def _name(path: Any) -> str:
    return ".".join(str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path)


def like_params(grads: Tree) -> Tree:
    """One expert's gradients, told to lie where its parameters do: summed and scattered at once, never moved again."""

    def one(path: Any, leaf: Array) -> Array:
        return constrain(leaf, logical_axes(tuple(str(entry.key) for entry in path), leaf.ndim))

    return jax.tree_util.tree_map_with_path(one, grads)


def owned(values_K: Array | np.ndarray) -> dict[int, np.ndarray]:
    """Expert → its value, of the experts that this process speaks for; over all processes each expert once."""
    if isinstance(values_K, np.ndarray):  # of one process, fetched already
        return dict(enumerate(values_K))
    if values_K.is_fully_addressable and jax.process_count() == 1:
        return dict(enumerate(jax.device_get(values_K)))
    mine: dict[int, np.ndarray] = {}
    for shard in values_K.addressable_shards:
        if shard.replica_id == 0:
            first = shard.index[0].start or 0
            mine |= {first + row: value for row, value in enumerate(jax.device_get(shard.data))}
    return dict(sorted(mine.items()))


def _span(indices: list[tuple[int, int, int]]) -> tuple[int, int]:
    """Ends of what the slices cover together; a mesh gives each process a contiguous block."""
    return min(start for start, _, _ in indices), max(stop for _, stop, _ in indices)
