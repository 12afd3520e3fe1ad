"""Published figures of accelerators."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """One accelerator as JAX counts devices.

    Attributes:
        name: as in tables.
        flops: dense bfloat16 peak, FLOP/s (not the sparse figure).
        memory_bytes: HBM.
        bandwidth: HBM, bytes/s.
    """

    name: str
    flops: float
    memory_bytes: float
    bandwidth: float


# Vendors' data sheets; a device kind as JAX names it, matched from its beginning, the longer first.
_CHIPS = {
    "NVIDIA A100": Chip("A100", 312e12, 80e9, 2.04e12),
    "NVIDIA H100": Chip("H100", 989e12, 80e9, 3.35e12),
    "NVIDIA H200": Chip("H200", 989e12, 141e9, 4.8e12),
    "TPU v4": Chip("v4", 275e12, 32e9, 1.23e12),
    "TPU v5 lite": Chip("v5e", 197e12, 16e9, 0.82e12),
    "TPU v5p": Chip("v5p", 459e12, 95e9, 2.77e12),
    "TPU v5": Chip("v5p", 459e12, 95e9, 2.77e12),
    "TPU v6 lite": Chip("v6e", 918e12, 32e9, 1.64e12),
}


def chip_of(device_kind: str) -> Chip | None:
    """The chip that JAX calls `device_kind`; None for a CPU and whatever is not in the table."""
    known = [kind for kind in _CHIPS if device_kind.startswith(kind)]
    return _CHIPS[max(known, key=len)] if known else None
