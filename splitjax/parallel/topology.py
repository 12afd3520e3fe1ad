"""Named TPU topologies: devices to compile for that are not here, and the networks between them."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
from jax.sharding import Mesh

from splitjax.config import UserError, did_you_mean

from .chips import CHIPS, Chip
from .mesh import AXES, layout, make_mesh

_NAME = re.compile(r"(?:(\d+)x)?([a-z0-9]+):(\d+(?:x\d+)*)")


@dataclass(frozen=True)
class Topology:
    """So many slices of so many chips.

    Attributes:
        name: as given, e.g. `v5p:4x4x4` or `8xv5e:4x4`.
        chip: what a device is.
        slices: groups of chips that only the data-centre network connects.
        shape: chips of a slice along its torus; for GPUs one figure, those of a node.
    """

    name: str
    chip: Chip
    slices: int
    shape: tuple[int, ...]

    @classmethod
    def parse(cls, name: str) -> Topology:
        """Read `v5p:4x4x4`, `8xv5e:4x4` (eight slices) or `h100:8`.

        Raises:
            UserError: no such form or chip.
        """
        match = _NAME.fullmatch(name.lower())
        if not match:
            raise UserError(f"'{name}' is no topology", mend="Write v5p:4x4x4, 8xv5e:4x4 or h100:8.")
        slices, kind, shape = match.groups()
        if kind not in CHIPS:
            raise UserError(f"no chip '{kind}'", where=name, mend=did_you_mean(kind, CHIPS))
        chip, sides = CHIPS[kind], tuple(int(side) for side in shape.split("x"))
        if len(sides) != chip.torus or min(sides) < 1:
            form = {1: "one number", 2: "two sides (4x4)", 3: "three sides (4x4x4)"}[chip.torus]
            raise UserError(f"'{shape}' for {chip.name}", where=name, mend=f"It takes {form}.")
        return cls(name, chip, int(slices or 1), sides)

    @property
    def devices(self) -> int:
        """Chips in all."""
        return self.slices * math.prod(self.shape)

    def mesh(self, sizes: dict[str, int]) -> Mesh:
        """A mesh of devices that a program can be compiled for and that run nothing.

        Raises:
            UserError: no compiler for them is installed here, or the sizes do not multiply to the chips.
        """
        if not self.chip.is_tpu:
            raise UserError(f"no compiler for {self.chip.name} away from one", where=self.name,
                            mend="Ask for the estimate: --estimate.")
        hush_libtpu()
        from jax.experimental import topologies

        several = {"num_slices": self.slices} if self.slices > 1 else {}
        slice_name = f"{self.chip.name}:{'x'.join(map(str, self.shape))}"
        try:
            found = topologies.get_topology_desc(platform="tpu", topology_name=slice_name, **several)
        except Exception as error:  # jaxlib and libtpu raise several unrelated types
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise UserError(f"cannot compile for it: {reason}", where=self.name,
                            mend="The TPU compiler comes with 'pip install splitjax[tpu]'.") from error
        return make_mesh(**sizes, devices=found.devices)

    def bandwidth(self, sizes: dict[str, int]) -> dict[str, float]:
        """Bytes/s that a chip can send along each axis of a mesh, both ways of every link that the axis spans.

        A ring sends both ways at once; a row whose ends do not meet is as slow as its middle link. Other axes that
        share links are not counted against each other.
        """
        places = layout(tuple(sizes[axis] for axis in AXES), self._places())
        return {axis: self._along(np.moveaxis(places, n, 0).reshape(sizes[axis], -1)) for n, axis in enumerate(AXES)}

    def _along(self, groups: np.ndarray) -> float:
        """groups: (members, groups) of places."""
        one = list(groups[:, 0])
        if len(one) == 1:
            return math.inf
        if len({place.slice_index for place in one}) > 1:
            return self.chip.outside
        if not self.chip.is_tpu:
            return self.chip.link
        sides = [len({place.coords[n] for place in one}) for n in range(len(self.shape))]
        rings = [
            2 if side == whole and whole % self.chip.ring == 0 else 1
            for side, whole in zip(sides, self.shape, strict=True)
        ]
        return self.chip.link * sum(ring for ring, side in zip(rings, sides, strict=True) if side > 1)

    def _places(self) -> list[Any]:
        """Stand-ins for devices, with what a layout asks of them."""
        kind = "TPU" if self.chip.is_tpu else "GPU"
        found: list[Any] = []
        for slice_index in range(self.slices):
            for coords in product(*(range(side) for side in reversed(self.shape))):
                place = (*reversed(coords), 0, 0)[:3]
                found.append(SimpleNamespace(
                    id=len(found), coords=place, core_on_chip=0, slice_index=slice_index, process_index=slice_index,
                    platform="tpu" if self.chip.is_tpu else "gpu", device_kind=kind,
                ))
        return found


def hush_libtpu() -> None:
    """Tell libtpu, before it is loaded, that no TPU is here and that others may use it too: else it warns or aborts."""
    for name, value in {
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0", "TPU_STDERR_LOG_LEVEL": "3",
        "TPU_MIN_LOG_LEVEL": "3", "TF_CPP_MIN_LOG_LEVEL": "3",
    }.items():
        os.environ.setdefault(name, value)


def has_compiler() -> bool:
    """Whether libtpu, the TPU compiler, is installed."""
    from importlib.util import find_spec

    return "TPU_LIBRARY_PATH" in os.environ or find_spec("libtpu") is not None
