"""Batches made ahead of the step that needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Batches(Protocol):
    """A stream or a stack of them."""

    def batch(self, t: int, rows: slice | None = None) -> NDArray[np.int32]: ...


def prefetch(
    stream: Batches,
    start: int,
    stop: int,
    *,
    rows: slice | None = None,
    depth: int = 4,
    place: Callable[[NDArray[np.int32]], Any] = lambda tokens: tokens,
) -> Generator[Any, None, None]:
    """Batches start … stop − 1 in order, at most `depth` of them made ahead on threads.

    Args:
        rows: this host's slice of B.
        place: also done ahead, on the thread: for instance a transfer to the devices.

    Raises:
        Exception: what a batch raised, at the batch's own turn. Leaving the loop early stops the threads.
    """
    pool = ThreadPoolExecutor(min(depth, 2), thread_name_prefix="splitjax-prefetch")
    ahead: deque[Future[Any]] = deque()
    asked = start
    try:
        for _ in range(start, stop):
            while asked < stop and len(ahead) < depth:
                ahead.append(pool.submit(lambda t: place(stream.batch(t, rows)), asked))
                asked += 1
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
