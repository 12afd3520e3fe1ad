"""Logical axis names → mesh axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
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
    and padding would make its arithmetic depend on the machine. A mesh axis serves the first name only.
    """
    used: set[str] = set()
    places: list[str | tuple[str, ...] | None] = []
    for name, length in zip(axes, shape, strict=True):
        wanted = RULES.get(name, ()) if name else ()
        names = tuple(axis for axis in ((wanted,) if isinstance(wanted, str) else wanted) if axis not in used)
        size = 1
        for axis in names:
            size *= mesh.shape[axis]
        if size > 1 and length % size == 0:
            used.update(names)
            places.append(names if len(names) > 1 else names[0])
        else:
            places.append(None)
    return PartitionSpec(*places)


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


def batch_sharding(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Placement of a (K, B, …) batch: experts over `expert`, windows over `data` and `fsdp`."""
    axes: Axes = ("expert", "batch", *(None,) * (len(shape) - 2))
    return NamedSharding(mesh, spec_for(axes, shape, mesh))
