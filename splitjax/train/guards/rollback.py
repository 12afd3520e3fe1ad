"""Going back: an expert that skips step after step takes up an earlier checkpoint, and goes on with the text after it.

A skipped step leaves an expert as it was, so going back mends only what was broken before: weights or moments that a
bad batch or too high a rate drove to where every gradient is infinite. The batches from that checkpoint to here are
spent and counted as spent; making them again would lead to the same place.

Every decision is a function of the counters in the state at fixed steps, and of checkpoints at fixed tokens. So a run
that was killed decides as an undisturbed one, an expert alone as one in a stack.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from splitjax.config import ReadError, UserError

from .. import checkpoint, store
from ..placement import Placement
from ..stack import Stack

log = logging.getLogger("splitjax")

AFTER = 64
"""Steps between two looks, all of them skipped: more than the running mean of the gradient norm needs to learn a change
that lasts (see `spikes`), so that nothing is taken for broken that only spikes."""
DEPTH = 16
"""Checkpoints of the past that an expert may go back to."""
_GOES_ON = ("tokens_K2", "skipped_K")
"""What does not go back: the path (its text is spent), and the count of what was skipped."""


class Rollback:
    """Who skips, and which checkpoints are left to go back to. It travels in every checkpoint.

    Args:
        step_tokens: path tokens of a step.
        start: where the phase begins.
        skipped_K: steps skipped until then.
        kept: from a checkpoint (`to_json`), or None at the start of a phase.
        last: checkpoints that `train.keep_last` leaves (None: all).
    """

    def __init__(
        self, step_tokens: int, start: int, skipped_K: np.ndarray, kept: Mapping[str, Any] | None = None,
        last: int | None = None,
    ) -> None:
        self._depth = min(DEPTH, last or DEPTH)
        self._steps, self._window, self._start = AFTER, AFTER * step_tokens, start
        told = kept or {"skipped": skipped_K.tolist(), "left": [[] for _ in skipped_K]}
        self._skipped_K: list[int] = list(told["skipped"])
        self._left_K: list[list[int]] = [list(marks) for marks in told["left"]]

    def after(self, tokens: int, kept: bool) -> bool:
        """Note a step; whether it is time to look.

        Args:
            kept: whether `train.keep_every` keeps a checkpoint here.
        """
        if kept:
            self._left_K = [[*marks, tokens][-self._depth :] for marks in self._left_K]
        return self.looks(tokens)

    def looks(self, tokens: int) -> bool:
        """Whether it is time to look there."""
        return (tokens - self._start) % self._window == 0

    def look(self, tokens: int, skipped: Mapping[int, int]) -> dict[int, list[int]]:
        """Which experts must go back, and the checkpoints that are left to them: path tokens, the best first.

        The streak may have begun up to a window before the one just seen: what was kept since is no way back.

        Args:
            skipped: expert → steps skipped so far, of those that still train.
        """
        back = {}
        for expert, count in skipped.items():
            if count - self._skipped_K[expert] >= self._steps:
                left = [mark for mark in self._left_K[expert] if mark <= tokens - 2 * self._window]
                self._left_K[expert], back[expert] = left, left[::-1]
            self._skipped_K[expert] = count
        return back

    def went(self, expert: int, mark: int) -> None:
        """It took up this checkpoint: should it fail again before the next one, an older one is its way back."""
        self._left_K[expert] = [left for left in self._left_K[expert] if left < mark]

    def to_json(self) -> dict[str, Any]:
        return {"skipped": self._skipped_K, "left": self._left_K}


def put_back(stack: Stack, source: Path, lanes: Sequence[int], expert: int, placement: Placement) -> Stack | None:
    """The stack with one expert as a checkpoint has it; the others keep every bit.

    Leaf by leaf: a second stack is never in memory. The stack given is donated.

    Args:
        source: the checkpoint.
        lanes: the expert of each lane.

    Returns:
        None where the checkpoint is damaged or gone, which is said; the stack given is whole then.
    """
    try:
        then, _ = checkpoint.leaves(source, [expert] * len(lanes), placement.leaf)  # read once
    except ReadError:
        raise
    except UserError as damage:
        log.warning("%s: passed over, the checkpoint before it is used", damage)
        return None
    back_K = placement.put(np.array(lanes) == expert)
    now = store.flatten(checkpoint.tree_of(stack))
    for name, leaf in then:
        if name not in _GOES_ON:
            now[name] = _choose(leaf.sharding)(back_K, leaf, now[name])
    return Stack(**store.nest(now))


def _choose(place: jax.sharding.Sharding) -> Any:
    return jax.jit(_rows, donate_argnums=2, out_shardings=place)


def _rows(back_K: Array, then: Array, now: Array) -> Array:
    return jnp.where(back_K.reshape(-1, *[1] * (now.ndim - 1)), then, now)
