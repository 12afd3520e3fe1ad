"""A lower bound of a step's time from published peaks, and one efficiency that turns it into a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .chips import Chip

_IN_TURN = frozenset({"tensor"})
"""Axes whose collectives stand between two products that need them; all others can hide behind work."""


@dataclass(frozen=True)
class Times:
    """Seconds a step of a device would need for each part alone, at published peaks.

    Attributes:
        products: FLOPs.
        memory: HBM traffic.
        network: collectives by mesh axis.
    """

    products: float
    memory: float
    network: Mapping[str, float]

    @classmethod
    def of(
        cls, chip: Chip, *, flops: float, hbm_bytes: float, sent: Mapping[str, float], bandwidth: Mapping[str, float]
    ) -> Times:
        """From what a device does in a step.

        Args:
            sent: bytes sent by mesh axis; several axes at once are written `data+fsdp`.
            bandwidth: bytes/s by mesh axis (`Topology.bandwidth`).
        """
        network = {axes: size / min(bandwidth[axis] for axis in axes.split("+")) for axes, size in sent.items()}
        return cls(flops / chip.flops, hbm_bytes / chip.bandwidth, network)

    def step(self, efficiency: float) -> float:
        """Seconds: products and memory in turn, as kernels follow each other, at `efficiency` of their peaks; network
        beside them, at its peak, but for the axes that work has to wait for."""
        waited = sum(time for axes, time in self.network.items() if _IN_TURN & set(axes.split("+")))
        hidden = sum(self.network.values()) - waited
        return max((self.products + self.memory) / efficiency + waited, hidden)

    def bound(self, efficiency: float) -> str:
        """What the step waits for: `products`, `memory` or `network`."""
        if self.step(efficiency) > (self.products + self.memory) / efficiency + 1e-12:
            return "network"
        return "products" if self.products >= self.memory else "memory"
