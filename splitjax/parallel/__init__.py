"""Floor 1: meshes, and where the axes of a stack lie on them. Knows no model."""

from .chips import Chip, chip_of
from .mesh import AXES, make_mesh
from .rules import RULES, batch_sharding, spec_for, tree_shardings

__all__ = ["AXES", "RULES", "Chip", "batch_sharding", "chip_of", "make_mesh", "spec_for", "tree_shardings"]
