"""Several steps in one dispatch: where a block of them may lie, its batches, and the row of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from .lanes import Lanes
from .placement import owned
from .step import Metrics


class Batches(Protocol):
    """What makes batch t."""

    def batch(self, t: int, rows: slice | None = None) -> np.ndarray: ...


def cut(first: int, last: int, most: int, halts: Callable[[int], bool]) -> list[range]:
    """Steps `first` … `last` − 1 in blocks of `most`; one by one what is left before a halt, so there are two programs.

    From the end of any block on it is cut alike: a run that was stopped there makes the rest by the same programs.

    Args:
        halts: t → whether the loop has something to do before step t besides going on.
    """
    blocks = list[range]()
    while first < last:
        end = next((t for t in range(first + 1, last) if halts(t)), last)
        rest = end - (end - first) % most
        blocks += [range(t, t + most) for t in range(first, rest, most)]
        blocks += [range(t, t + 1) for t in range(rest, end)]
        first = end
    return blocks


class Blocked:
    """A stream whose batch i is that of the i-th block: (P, K, B, T) of P steps, of one (K, B, T)."""

    def __init__(self, stream: Batches, blocks: Sequence[range]) -> None:
        self._stream, self._blocks = stream, blocks

    def batch(self, t: int, rows: slice | None = None) -> np.ndarray:
        block = self._blocks[t]
        made = [self._stream.batch(step, rows) for step in block]
        return made[0] if len(block) == 1 else np.stack(made)


class Pending(NamedTuple):
    """One step, or a block of them, whose metrics are still on the devices.

    Attributes:
        marks: path tokens after each step.
        rate: of a step (K,), of a block (P, K); so are the metrics.
        active_K: who makes them: the same of a whole block.
    """

    marks: Sequence[int]
    lanes: Lanes
    rate: np.ndarray
    active_K: np.ndarray
    metrics: Metrics

    def singly(self) -> Iterator[Pending]:
        """Step by step; waits for the block, and fetches its metrics at once."""
        if self.rate.ndim == 1:
            yield self
            return
        made = jax.device_get(self.metrics)
        for at, tokens in enumerate(self.marks):
            metrics = jax.tree.map(lambda leaf, at=at: leaf[at], made)
            yield Pending((tokens,), self.lanes, self.rate[at], self.active_K, metrics)


def row_of(step: Pending, experts: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """A log row over all experts: None for one that is done, or that another process speaks for."""
    values: dict[str, list[Any]] = {}
    made = {"loss": step.metrics.loss_K, "grad_norm": step.metrics.grad_norm_K, "skipped": step.metrics.skipped_K}
    for name, values_K in made.items():
        values[name] = [None] * experts
        for lane, value in owned(values_K).items():
            if step.active_K[lane]:
                values[name][step.lanes.experts[lane]] = value.item()
    values["rate"] = [None] * experts
    for lane, expert in enumerate(step.lanes.experts):
        if step.active_K[lane]:
            values["rate"][expert] = float(step.rate[lane])
    loss_K = np.array([np.nan if value is None else value for value in values["loss"]])
    skipped_K = np.array([value or 0 for value in values["skipped"]])
    idle = int((~step.active_K).sum())
    return {"tokens": step.marks[-1], **values, "idle": idle}, loss_K, skipped_K
