"""Floor 1: meshes, where the axes of a stack lie on them; several processes as one; chips. Knows no model."""

from . import hosts
from .chips import Chip, chip_of
from .cluster import join_cluster
from .host_memory import keep_freed_memory
from .mesh import AXES, default_sizes, make_mesh, mesh_of, sizes_for
from .rules import RULES, batch_sharding, constrain, mean_of_shards, spec_for, tree_shardings

__all__ = [
    "AXES",
    "RULES",
    "Chip",
    "batch_sharding",
    "chip_of",
    "constrain",
    "default_sizes",
    "hosts",
    "join_cluster",
    "keep_freed_memory",
    "make_mesh",
    "mean_of_shards",
    "mesh_of",
    "sizes_for",
    "spec_for",
    "tree_shardings",
]
