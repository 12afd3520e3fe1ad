"""A TPU topology (`v5p:4x4x4`, `2xv6e:8x8`) as Google Cloud names it.

Sources, read 2026-11-24: cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus (node labels, chips of a node),
cloud.google.com/tpu/docs/supported-tpu-configurations (accelerator types), cloud.google.com/tpu/docs/runtimes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from splitjax.config import UserError
from splitjax.parallel import Topology


@dataclass(frozen=True)
class _Generation:
    label: str
    """Value of the node label cloud.google.com/gke-tpu-accelerator."""
    accelerator: str
    """Prefix of an accelerator type; what follows counts cores or chips."""
    cores: int
    """Cores of a chip, as an accelerator type counts them."""
    one_host: int
    """Chips up to which a slice has one host."""
    runtime: str
    """Image of a TPU VM for JAX."""


_GENERATIONS = {
    "v4": _Generation("tpu-v4-podslice", "v4", 2, 4, "tpu-ubuntu2204-base"),
    "v5e": _Generation("tpu-v5-lite-podslice", "v5litepod", 1, 8, "v2-alpha-tpuv5-lite"),
    "v5p": _Generation("tpu-v5p-slice", "v5p", 2, 4, "v2-alpha-tpuv5"),
    "v6e": _Generation("tpu-v6e-slice", "v6e", 1, 8, "v2-alpha-tpuv6e"),
}
_CHIPS_OF_A_HOST = 4  # of a slice with several


@dataclass(frozen=True)
class Slices:
    """The TPU slices of a topology."""

    of: Topology

    @classmethod
    def parse(cls, name: str) -> Slices:
        """Read "v5p:4x4x4", or "2xv6e:8x8" for two slices.

        Raises:
            UserError: no such topology, no TPU, or not whole hosts.
        """
        found = cls(Topology.parse(name))
        where = f"--topology {name}"
        if found.of.chip.name not in _GENERATIONS:
            raise UserError(f"'{found.of.chip.name}' is no TPU that Google Cloud rents", where=where,
                            mend=f"These are: {', '.join(_GENERATIONS)}.")
        if found.count < 1 or (found.chips not in (1, found._facts.one_host) and found.chips % _CHIPS_OF_A_HOST):
            raise UserError(f"{found.count} × {found.chips} chips do not fill hosts of {_CHIPS_OF_A_HOST}", where=where)
        return found

    @property
    def count(self) -> int:
        """Slices, connected by the data-centre network."""
        return self.of.slices

    @property
    def chips(self) -> int:
        """Of one slice."""
        return math.prod(self.of.shape)

    @property
    def several_hosts(self) -> bool:
        return self.hosts * self.count > 1

    @property
    def hosts(self) -> int:
        """Of one slice."""
        return 1 if self.chips <= self._facts.one_host else self.chips // _CHIPS_OF_A_HOST

    @property
    def label(self) -> str:
        return self._facts.label

    @property
    def topology(self) -> str:
        return "x".join(map(str, self.of.shape))

    @property
    def accelerator_type(self) -> str:
        return f"{self._facts.accelerator}-{self.chips * self._facts.cores}"

    @property
    def runtime(self) -> str:
        return self._facts.runtime

    @property
    def _facts(self) -> _Generation:
        return _GENERATIONS[self.of.chip.name]
