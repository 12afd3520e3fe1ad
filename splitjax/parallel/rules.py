"""Logical axis names → mesh axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Axes = tuple[str | None, ...]

RULES: Mapping[str, str | tuple[str, ...]] = {
    "expert": "expert",
    "batch": ("data", "fsdp"),
    "embed": "fsdp",
    "vocab": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "ffn": "tensor",
}
"""A name that is absent here (layers, norm gains, positions) is held whole by every device."""


def spec_for(axes: Axes, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Where an array of `shape` with the named `axes` lies on `mesh`.

    An axis whose length the mesh axis does not divide stays whole: a small model must run on a large mesh,
    and padding would make its arithmetic depend on the machine. Of several mesh axes those are used that together
    cut the length finest. A mesh axis serves the first name only.
    """
    used: set[str] = set()
    places: list[str | tuple[str, ...] | None] = []
    for name, length in zip(axes, shape, strict=True):
        wanted = RULES.get(name, ()) if name else ()
        free = [axis for axis in ((wanted,) if isinstance(wanted, str) else wanted) if axis not in used]
        names = _finest(free, length, mesh)
        used.update(names)
        places.append(None if not names else names if len(names) > 1 else names[0])
    return PartitionSpec(*places)


def _finest(free: list[str], length: int, mesh: Mesh) -> tuple[str, ...]:
    """The mesh axes that together cut `length` into the most equal parts, as many of them as cut it so."""
    sets = (names for count in range(len(free), 0, -1) for names in itertools.combinations(free, count))

    def parts(names: tuple[str, ...]) -> int:
        size = math.prod(mesh.shape[axis] for axis in names)
        return size if length % size == 0 else 1

    best = max(sets, key=parts, default=())
    return best if parts(best) > 1 else ()


def tree_shardings(tree: Any, logical_axes: Callable[[tuple[str, ...], int], Axes], mesh: Mesh) -> Any:
    """The same tree with a NamedSharding at every leaf.

    Args:
        tree: nested dicts of arrays or ShapeDtypeStructs.
        logical_axes: (path of a leaf, its rank) → its axis names.
        mesh: from `make_mesh`.
    """

    def place(path: Any, leaf: Any) -> NamedSharding:
        names = tuple(str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path)
        return NamedSharding(mesh, spec_for(logical_axes(names, len(leaf.shape)), leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, tree)


def constrain(x: Array, axes: Axes) -> Array:
    """x, told to the compiler to lie by its axis names on the mesh around the trace (`jax.set_mesh`); none: as it is.

    Without being told, the compiler spreads activations by whichever weight they meet first.
    """
    mesh: Any = jax.sharding.get_abstract_mesh()
    return x if mesh.empty else jax.lax.with_sharding_constraint(x, spec_for(axes, x.shape, mesh))


def mean_of_shards(
    mean: Callable[[Array, Array, Array], tuple[Array, ...]], x_BSD: Array, weights: Array, target_BS: Array
) -> tuple[Array, ...]:
    """`mean(x, weights, target)` over all positions, each device on its own of them: windows as the batch lies,
    positions over `tensor`.

    Weights are gathered once and their gradient is summed once. Left to the compiler, a loop over blocks of
    positions inside `mean` would sum it over all devices in every round.
    """
    mesh: Any = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return mean(x_BSD, weights, target_BS)
    windows = spec_for(("batch",), target_BS.shape[:1], mesh)[0]
    positions = "tensor" if target_BS.shape[1] % mesh.shape["tensor"] == 0 else None
    batch = () if windows is None else (windows,) if isinstance(windows, str) else windows
    shared = (*batch, positions) if positions else batch
    spec = PartitionSpec(windows, positions)

    def local(x_BSD: Array, weights: Array, target_BS: Array) -> tuple[Array, ...]:
        return tuple(jax.lax.pmean(value, shared) if shared else value for value in mean(x_BSD, weights, target_BS))

    # The loop's carry has no record of which axes it varies over, so that check must be off.
    whole = PartitionSpec()
    mapped = jax.shard_map(local, mesh=mesh, in_specs=(spec, whole, spec), out_specs=whole, check_vma=False)
    return mapped(x_BSD, weights, target_BS)


def batch_sharding(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Placement of a (K, B, …) batch: experts over `expert`, windows over `data` and `fsdp`."""
    axes: Axes = ("expert", "batch", *(None,) * (len(shape) - 2))
    return NamedSharding(mesh, spec_for(axes, shape, mesh))
