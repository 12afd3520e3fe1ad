"""The learning rate as a pure function of path tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from splitjax.config import Train


def schedule(
    train: Train, path_tokens: ArrayLike, decay_from: ArrayLike | None = None, decay_to: ArrayLike | None = None
) -> np.ndarray:
    """The rate at a point of the path: warm-up from zero, constant, then a fall to zero.

    Before `decay_from` it does not depend on where the decay lies, so under "wsd" one constant trunk serves every split
    point. Under "cosine" the fall is half a cosine over the whole path (times the warm-up), so it depends on the path's
    length everywhere.

    Args:
        train: learning_rate, warmup (tokens) and schedule.
        path_tokens: tokens since step 0; any shape.
        decay_from, decay_to: path tokens between which the rate falls to zero (None: constant for ever); broadcast
            against path_tokens, so experts may end at different tokens.

    Returns:
        Rates, float64, of the broadcast shape.
    """
    at = np.asarray(path_tokens, np.float64)
    rate = np.full_like(at, train.learning_rate)
    if train.warmup:
        rate = rate * np.minimum(at / train.warmup, 1.0)
    if decay_from is None or decay_to is None:
        return rate
    start, end = np.asarray(decay_from, np.float64), np.asarray(decay_to, np.float64)
    left = np.clip((end - at) / np.maximum(end - start, 1.0), 0.0, 1.0)
    return rate * (0.5 - 0.5 * np.cos(np.pi * left) if train.schedule == "cosine" else left)


def decay_span(train: Train, path: int) -> tuple[int, int] | tuple[None, None]:
    """(decay_from, decay_to) of a whole path D + D' that ends at `path` tokens; None where it has no decay."""
    return (path - round(train.decay_share * path), path) if train.decay_share else (None, None)
