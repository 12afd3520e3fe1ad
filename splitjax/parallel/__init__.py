"""Floor 1: hardware: meshes and how a stack lies on them, processes that act as one, chips, topologies, programs.

Enters: axes and shardings, meetings and heartbeats of processes, what chips can do, what a compiled program says of
itself. Does not enter: a model, data, a recipe, or a run.
"""

from . import hosts
from .chips import CHIPS, Chip, chip_of, device_here
from .cluster import join_cluster
from .hlo import Program
from .host_memory import keep_freed_memory
from .mesh import AXES, default_sizes, make_mesh, mesh_of, sizes_for
from .moved import moved_bytes
from .roofline import Times
from .rules import RULES, batch_sharding, constrain, mean_of_shards, spec_for, tree_shardings
from .topology import Topology, has_compiler
from .traffic import Traffic, by_axis, crossing

__all__ = [
    "AXES", "CHIPS", "RULES", "Chip", "Program", "Times", "Topology", "Traffic", "batch_sharding", "by_axis", "chip_of",
    "constrain", "crossing", "default_sizes", "device_here", "has_compiler", "hosts", "join_cluster",
    "keep_freed_memory", "make_mesh", "mean_of_shards", "mesh_of", "moved_bytes", "sizes_for", "spec_for",
    "tree_shardings",
]
