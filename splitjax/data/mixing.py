"""Which window of which domain stands at a place of a mixture, in closed form.

A mixture is a few segments of constant integer weights. Within a segment the domains are nested two-way splits: of n
items the first domain gets n − ⌊n (W − w₀) / W⌋, the rest is split the same way. So any place and any count costs
O(K), and no state is kept.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError

Weights = Sequence[float]
Schedule = Sequence[tuple[int, Weights]]
"""(first token of the path, weights by domain), the first at token 0."""


class Mixing:
    """Item → (domain, how manyth of that domain); the order of Grain's `mix`, with exact weights and steps in them.

    Args:
        starts: first item of each segment; the first is 0.
        weights: non-negative integers by domain, for each segment; at least one is positive.
    """

    def __init__(self, starts: Sequence[int], weights: Sequence[Sequence[int]]) -> None:
        self._starts, self._weights = list(starts), [list(row) for row in weights]
        self._before = [np.zeros(len(self._weights[0]), np.int64)]
        for segment in range(1, len(self._starts)):
            length = self._starts[segment] - self._starts[segment - 1]
            self._before.append(self._before[-1] + _split(length, self._weights[segment - 1]))

    def place(self, item: int) -> tuple[int, int]:
        segment = bisect.bisect_right(self._starts, item) - 1
        here, after = item - self._starts[segment], item - self._starts[segment] + 1
        weights = self._weights[segment]
        rest = sum(weights)
        for domain, weight in enumerate(weights):
            rest_here = here * (rest - weight) // rest
            rest_after = after * (rest - weight) // rest
            if here - rest_here != after - rest_after:
                return domain, here - rest_here + int(self._before[segment][domain])
            here, after, rest = rest_here, rest_after, rest - weight
        raise AssertionError("the last domain with a weight takes every item left")

    def counts(self, items: int) -> NDArray[np.int64]:
        """counts_K: windows of each domain among the first `items`."""
        segment = bisect.bisect_right(self._starts, max(items - 1, 0)) - 1
        return self._before[segment] + _split(items - self._starts[segment], self._weights[segment])


def _split(items: int, weights: Sequence[int]) -> NDArray[np.int64]:
    counts, rest = [], sum(weights)
    for weight in weights:
        left = items * (rest - weight) // rest if rest else 0
        counts.append(items - left)
        items, rest = left, rest - weight
    return np.array(counts, np.int64)


def mixing(sizes: Sequence[int], seq_len: int, weights: Weights | Schedule | None) -> Mixing:
    """A mixture by train tokens (`weights` None), by constant weights, or by a schedule of them.

    Raises:
        UserError: weights of the wrong number, negative, all zero, or steps out of order.
    """
    if weights is None:
        return Mixing([0], [sizes])
    steps: Schedule = weights if weights and isinstance(weights[0], tuple | list) else [(0, weights)]  # type: ignore
    starts = [-(-first // seq_len) for first, _ in steps]
    if starts[0] != 0 or any(b <= a for a, b in itertools.pairwise(starts)):
        raise UserError(f"steps of the mixture begin at {[first for first, _ in steps]}", where="weights",
                        mend="The first begins at token 0, the others later, one after another.")
    return Mixing(starts, [_whole(row, len(sizes)) for _, row in steps])


def _whole(weights: Weights, k: int) -> list[int]:
    if len(weights) != k or not np.all(np.isfinite(weights)) or min(weights) < 0 or sum(weights) <= 0:
        raise UserError(f"{list(weights)} are no weights for {k} domains", where="weights",
                        mend="Give one non-negative number a domain.")
    # Integers make the counts exact; 2^-32 is finer than any weight that a run can tell apart.
    return [round(weight / sum(weights) * 2**32) for weight in weights]
