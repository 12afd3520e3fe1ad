"""Floor 1: meshes, and where the axes of a stack lie on them; chips, topologies, compiled programs. Knows no model."""

from .chips import Chip, chip_of
from .mesh import AXES, make_mesh
from .rules import RULES, batch_sharding, constrain, mean_of_shards, spec_for, tree_shardings

__all__ = [
    "AXES", "RULES", "Chip", "batch_sharding", "chip_of", "constrain", "make_mesh", "mean_of_shards",
    "spec_for", "tree_shardings",
]  # fmt: skip
