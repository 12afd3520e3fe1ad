"""Streams: batch t as a pure function of (data, seed, batch size, sequence length, weights, t)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError

from .mixing import Mixing
from .shards import TokenRun

if TYPE_CHECKING:
    import grain


class Windows:
    """Item w is the T = S + 1 tokens from w·S on, so that each token but the first is a target exactly once."""

    def __init__(self, run: TokenRun, seq_len: int, name: str) -> None:
        self._run, self._seq_len = run, seq_len
        self._count = (len(run) - 1) // seq_len
        if self._count < 1:
            raise UserError(f"{len(run)} tokens do not fill one window of {seq_len} + 1", where=name,
                            mend="Lower train.seq_len or give the domain more text.")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, window: int) -> NDArray[np.int32]:
        start = int(window) * self._seq_len
        return self._run.read(start, start + self._seq_len + 1)


class Stream:
    """Batches of windows. No state: ask for any batch, in any order, from any thread or host.

    Args:
        item: the (T,) window at a place of the stream, a pure function.
        batch_size: windows a batch, over all hosts.
        start: place at which batch 0 begins; may be negative where the first batches are never asked for.
        repeated: items taken so far → how often the data were gone through.
    """

    def __init__(
        self,
        item: Callable[[int], NDArray[np.int32]],
        batch_size: int,
        start: int,
        repeated: Callable[[int], float],
    ) -> None:
        self._item, self._batch_size, self._start, self._repeated = item, batch_size, start, repeated

    def batch(self, t: int, rows: slice | None = None) -> NDArray[np.int32]:
        """tokens_BT of batch t; with `rows`, only those of its rows (one host's part)."""
        first = self._start + t * self._batch_size
        if first < 0:
            raise IndexError(f"batch {t} lies before the start of this stream")
        wanted = range(first, first + self._batch_size)[rows if rows is not None else slice(None)]
        return np.stack([self._item(index) for index in wanted])

    def epochs(self, t: int) -> float:
        """How often the data were gone through after batches 0 … t − 1; of a mixture, its most repeated domain."""
        return self._repeated(max(self._start + t * self._batch_size, 0))


class Stacked:
    """K streams side by side: batch t is tokens_KBT, each expert's from its own stream."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = list(streams)

    def batch(self, t: int, rows: slice | None = None) -> NDArray[np.int32]:
        """tokens_KBT; `rows` slices B."""
        return np.stack([stream.batch(t, rows) for stream in self._streams])

    def pick(self, experts: Sequence[int]) -> Stacked:
        """The streams of these experts alone, in this order; the others are not read."""
        return Stacked([self._streams[expert] for expert in experts])

    def epochs(self, t: int) -> float:
        """Of the most repeated stream."""
        return max(stream.epochs(t) for stream in self._streams)


def stack(streams: Sequence[Stream]) -> Stacked:
    """One stream of tokens_KBT from K streams of tokens_BT."""
    return Stacked(streams)


def permuted(windows: Windows, seed: int, name: str) -> grain.MapDataset[NDArray[np.int32]]:
    """The windows without end, permuted anew in each epoch; item i is a pure function of (seed, name, i)."""
    import grain

    # Grain shuffles epoch e with seed + e, so the seeds of two domains must lie far apart.
    own = int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=4).digest(), "little")
    return grain.MapDataset.source(windows).shuffle(seed=own).repeat()


def domain_stream(windows: Windows, batch_size: int, seed: int, name: str, start: int) -> Stream:
    """One domain, from its window number `start` on."""
    items = permuted(windows, seed, name)
    return Stream(lambda index: items[index], batch_size, start, lambda count: count / len(windows))


def mixture_stream(
    windows_K: Sequence[Windows], batch_size: int, seed: int, names: Sequence[str], mixing: Mixing
) -> Stream:
    """Every domain in the order of its own stream, so that an expert can go on where the mixture left it."""
    items_K = [permuted(windows, seed, name) for windows, name in zip(windows_K, names, strict=True)]
    sizes_K = np.array([len(windows) for windows in windows_K])

    def item(index: int) -> NDArray[np.int32]:
        domain, place = mixing.place(index)
        return items_K[domain][place]

    return Stream(item, batch_size, 0, lambda count: float(np.max(mixing.counts(count) / sizes_K)))


def window_order() -> str:
    """A hash of the permutation that this Grain makes: data prepared under another one is refused, not reordered."""
    import grain

    shuffled = grain.MapDataset.range(1009).shuffle(seed=12345).repeat()
    probe = np.array([shuffled[index] for index in range(2 * 1009)], "<i8")
    return hashlib.blake2b(probe.tobytes(), digest_size=8).hexdigest()
