"""Which devices a stack of a run lies on, `train.mesh` fitted to its size, and whether it can lie there at all."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from splitjax.config import Config, MeshSizes, Model, Train, UserError
from splitjax.model import n_params_total, state_bytes
from splitjax.parallel import default_sizes, device_here, mesh_of, sizes_for


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


def check_memory(shape: Model, train: Train, vocab_size: int, experts: int, devices: int) -> None:
    """Refuse a stack whose state or whose batch of ids alone is more than all memory.

    Args:
        experts: of the stack.
        devices: that share it.

    Raises:
        UserError: tells both sizes.
    """
    has = _memory(devices)
    state = state_bytes(shape, train, vocab_size, experts)  # without gradients, activations and copies
    batch = 4 * experts * train.batch_size * (train.seq_len + 1)
    for what, needs, mend in (
        (f"weights and moments of {experts} × {n_params_total(shape, vocab_size):,} parameters", state,
         "Choose a smaller model, train.placement=serial, or more devices."),
        (f"a batch of {experts} × {train.batch_size:,} windows", batch, "Lower train.batch_size or train.seq_len."),
    ):
        if needs > has:
            lacks = f"{what} take {needs / 1e9:,.0f} GB, there are {has / 1e9:,.0f} GB"
            raise UserError(f"not enough memory: {lacks}", where="train", mend=mend)


def _memory(devices: int) -> float:
    """Bytes of the devices; processors have the memory of their machine."""
    _, told = device_here()
    if told:
        return told * devices
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) * jax.process_count()


def layout_words(mesh: Mesh | None) -> str:
    """Where a phase lies: the mesh and the processes that share it."""
    processes = jax.process_count()
    sizes = " × ".join(f"{axis} {size}" for axis, size in mesh.shape.items()) if mesh else "one device"
    return f"{sizes} ({processes} process{'es' if processes > 1 else ''})"
