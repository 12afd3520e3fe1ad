"""Published figures of accelerators."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import jax


@dataclass(frozen=True)
class Chip:
    """One accelerator as JAX counts devices.

    Attributes:
        name: as in tables and topologies.
        flops: dense bfloat16 peak, FLOP/s (not the sparse figure).
        memory_bytes: HBM.
        bandwidth: HBM, bytes/s.
        torus: dimensions of the network between chips of a slice; 1: all chips of a node behind one switch.
        link: one way of one link of it, bytes/s.
        ring: a side of a slice closes to a ring if it is a multiple of this; 0: behind a switch nothing need close.
        outside: network between slices or nodes, bytes/s a chip.
        efficiency: share of both peaks that training reaches; the one figure here that is fitted, the same for
            every model: on Hopper GPUs to our own rows (`planning.own_rows`, H200), else to published ones
            (`planning.published_rows`).
    """

    name: str
    flops: float
    memory_bytes: float
    bandwidth: float
    torus: int = 1
    link: float = 0.0
    ring: int = 0
    outside: float = 0.0
    efficiency: float = 0.5

    @property
    def is_tpu(self) -> bool:
        return self.ring > 0

    @property
    def platform(self) -> str:
        """As JAX calls it."""
        return "tpu" if self.is_tpu else "gpu"


# Vendors' data sheets. TPU links: cloud.google.com/tpu/docs, per-chip figure over both ways and all links. Network
# between slices of TPUs: cards of a host over its chips; between GPU nodes: one 200 or 400 Gbit/s card a GPU.
CHIPS = {
    "a100": Chip("A100", 312e12, 80e9, 2.04e12, 1, 300e9, 0, 25e9, 0.56),
    "h100": Chip("H100", 989e12, 80e9, 3.35e12, 1, 450e9, 0, 50e9, 0.78),
    "h200": Chip("H200", 989e12, 141e9, 4.8e12, 1, 450e9, 0, 50e9, 0.78),
    "rtx4090": Chip("RTX 4090", 165e12, 24e9, 1.01e12, 1, 16e9, 0, 3e9, 0.56),
    "v4": Chip("v4", 275e12, 32e9, 1.23e12, 3, 50e9, 4, 6.25e9, 0.82),
    "v5e": Chip("v5e", 197e12, 16e9, 0.82e12, 2, 50e9, 16, 3.125e9, 0.91),
    "v5p": Chip("v5p", 459e12, 95e9, 2.77e12, 3, 100e9, 4, 6.25e9, 0.82),
    "v6e": Chip("v6e", 918e12, 32e9, 1.64e12, 2, 100e9, 16, 12.5e9, 0.68),
}
# A device kind as JAX names it, matched from its beginning, the longer first.
_KINDS = {
    "NVIDIA A100": "a100", "NVIDIA H100": "h100", "NVIDIA H200": "h200", "NVIDIA GeForce RTX 4090": "rtx4090",
    "TPU v4": "v4", "TPU v5 lite": "v5e", "TPU v5p": "v5p", "TPU v5": "v5p", "TPU v6 lite": "v6e",
}


def chip_of(device_kind: str) -> Chip | None:
    """The chip that JAX calls `device_kind`; None for a CPU and whatever is not in the table."""
    known = [kind for kind in _KINDS if device_kind.startswith(kind)]
    return CHIPS[_KINDS[max(known, key=len)]] if known else None


@cache
def device_here() -> tuple[str, float | None]:
    """Platform of the devices at hand, and the bytes of memory that JAX may use of one (None: it does not say)."""
    first = jax.local_devices()[0]
    told = (first.memory_stats() or {}).get("bytes_limit")
    return str(first.platform), float(told) if told else None
