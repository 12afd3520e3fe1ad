"""Early stop: an expert that no longer gets better on validation is frozen as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..stack import Stack


@dataclasses.dataclass(frozen=True)
class EarlyStop:
    """When to stop the experts of a phase before its end.

    Attributes:
        every: path tokens between two evaluations, whole steps.
        patience_K: evaluations in a row without a loss below the expert's best after which it stops; None: never.
        losses: (working stack, its experts) → their validation losses, the same on every process.
    """

    every: int
    patience_K: tuple[int | None, ...]
    losses: Callable[[Stack, Sequence[int]], np.ndarray]

    def only(self, expert: int) -> EarlyStop:
        """For one expert, trained apart."""
        return EarlyStop(self.every, (self.patience_K[expert],), lambda stack, _: self.losses(stack, [expert]))


class Progress:
    """What the evaluations of a phase have shown so far. It travels in every checkpoint, so a resumed run decides as
    an undisturbed one.

    Args:
        kept: from a checkpoint (`to_json`), or None at the start of a phase.
    """

    def __init__(self, stop: EarlyStop, start: int, kept: Mapping[str, Any] | None) -> None:
        self._stop, count = stop, len(stop.patience_K)
        told = kept or {"at": start, "best": [None] * count, "since": [0] * count}
        self._at = int(told["at"])
        self._best_K: list[float] = [np.inf if best is None else best for best in told["best"]]
        self._since_K: list[int] = list(told["since"])

    @property
    def next(self) -> int:
        """Path tokens of the next evaluation."""
        return self._at + self._stop.every

    def judge(self, tokens: int, stack: Stack, experts: Sequence[int]) -> list[int]:
        """Evaluate at `tokens`; the experts to stop now."""
        self._at = tokens
        stopped = []
        for expert, loss in zip(experts, self._stop.losses(stack, experts), strict=True):
            better = loss < self._best_K[expert]
            self._best_K[expert] = min(float(loss), self._best_K[expert])
            self._since_K[expert] = 0 if better else self._since_K[expert] + 1
            patience = self._stop.patience_K[expert]
            if patience is not None and self._since_K[expert] >= patience:
                stopped.append(expert)
        return stopped

    def to_json(self) -> dict[str, Any]:
        best = [float(loss) if np.isfinite(loss) else None for loss in self._best_K]
        return {"at": self._at, "best": best, "since": self._since_K}
