"""Which devices a stack of a run lies on: `train.mesh`, fitted to the size of the stack."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from splitjax.config import Config, MeshSizes
from splitjax.parallel import default_sizes, mesh_of, sizes_for


@dataclass(frozen=True)
class Devices:
    """The devices of a run.

    Attributes:
        sizes: of the mesh for its experts; None: one device, without a mesh.
        windows: of a part of a batch (`Train.part_size`).
        note: what to tell the user about it; "" where it is as asked for.
    """

    sizes: MeshSizes | None
    windows: int
    note: str = ""

    @classmethod
    def of(cls, config: Config, experts: int) -> Devices:
        """All devices that JAX sees, over all processes, as `train.mesh` lays them out for `experts`."""
        asked, windows = config.train.mesh, config.train.part_size
        if asked is None:
            found = jax.device_count()
            if found == 1:
                return cls(None, windows)
            sizes = sizes_for(default_sizes(found, experts), experts, windows)
            return cls(sizes, windows, f"{found} devices: {sizes} for {experts} experts (train.mesh)")
        mesh_of(asked)  # refuses a number of devices that is not here
        sizes = sizes_for(asked, experts, windows)
        if sizes == asked:
            return cls(sizes, windows)
        groups = math.gcd(asked.expert, experts)
        return cls(sizes, windows, f"train.mesh: {experts} experts share {groups} groups of devices, not "
                   f"{asked.expert}: {sizes}")

    def mesh(self, experts: int) -> Mesh | None:
        """For a stack of `experts`; None: the one device there is."""
        return mesh_of(sizes_for(self.sizes, experts, self.windows)) if self.sizes else None
