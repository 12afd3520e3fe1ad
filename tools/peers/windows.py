"""Token windows as text fills them: documents one behind another, each begun by id 0 (`LanguageModel.end_id`)."""

from __future__ import annotations

import math

import numpy as np

FORMS = ("documents", "single")


def draw(
    form: str, shape: tuple[int, int, int], vocab: int, *, mean_length: float, spread: float, seed: int = 0
) -> np.ndarray:
    """Ids (K, B, T), int32.

    Args:
        form: "documents": lengths log-normal, one stream cut into windows, so that a document may go on in the next;
            "single": one document a window.
        mean_length: tokens of a document, its first id counted.
        spread: standard deviation of the logarithm of a length.
    """
    rng = np.random.default_rng(seed)
    tokens_KBT = rng.integers(1, vocab, shape, np.int32)
    if form == "single":
        tokens_KBT[..., 0] = 0
        return tokens_KBT
    stream = tokens_KBT.reshape(-1)
    start = 0
    while start < len(stream):
        stream[start] = 0
        start += max(1, round(rng.lognormal(math.log(mean_length) - spread**2 / 2, spread)))
    return tokens_KBT
