"""Near-duplicates by MinHash: sketches of 32-byte shingles, compared within the buckets of a locality-sensitive hash.

One-permutation MinHash: every shingle's hash falls into one of 128 bins, a bin keeps its smallest, and the share of
equal bins estimates the Jaccard similarity of two documents to about ± 0.04.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BINS, _BANDS, _DOUBLINGS = 128, 32, 5
SHINGLE = 1 << _DOUBLINGS
_EMPTY = np.uint64(2**64 - 1)
_BLOCK = 1 << 18  # positions hashed at once: a long text needs no more memory than a short one


def sketches(texts: Sequence[bytes]) -> NDArray[np.uint32]:
    """One row of bins for each text; a text shorter than a shingle has the row of its own hash alone."""
    data = np.frombuffer(b"".join(text.ljust(SHINGLE, b"\0") for text in texts), np.uint8)
    ends = np.cumsum([max(len(text), SHINGLE) for text in texts])
    bins = np.full(len(texts) * BINS, _EMPTY)
    for start in range(0, len(data) - SHINGLE + 1, _BLOCK):
        hashes = _rolling(data[start : start + _BLOCK + SHINGLE - 1])
        # A shingle belongs to the text it begins in, unless it runs over its end.
        place = np.arange(start, start + len(hashes))
        owner = np.searchsorted(ends, place, side="right")
        whole = place + SHINGLE <= ends[owner]
        hashes, owner = hashes[whole], owner[whole]
        np.minimum.at(bins, owner * BINS + (hashes >> np.uint64(57)).astype(np.int64), hashes)
    return _filled(bins.reshape(len(texts), BINS))


def twins(sketch_NB: NDArray[np.uint32], threshold: float) -> NDArray[np.int64]:
    """For each row the earlier, kept one that it is a near-duplicate of, by `threshold` of equal bins; −1: it is kept.

    A row is dropped for what it shares with a kept one: of a chain of rows, each like the next and the ends unlike, one
    row stays wherever no row kept before is like it.
    """
    twin_N = np.full(len(sketch_NB), -1)
    while True:
        kept = np.flatnonzero(twin_N < 0)
        unsure = False
        for earlier, later in kept[_alike(sketch_NB[kept], threshold)].tolist():
            if twin_N[later] < 0 and twin_N[earlier] < 0:
                twin_N[later] = earlier
            elif twin_N[later] < 0:
                unsure = True  # it was met with one that is gone: who else is like it shows without that one
        if not unsure:
            return twin_N


def _alike(sketch_NB: NDArray[np.uint32], threshold: float) -> NDArray[np.int64]:
    """Pairs (earlier, later) of rows that are alike, by the later and then the earlier."""
    count = len(sketch_NB)
    pairs = [np.empty((0, 2), np.int64)]
    for band_NR in np.split(sketch_NB, _BANDS, axis=1):
        keys = np.ascontiguousarray(band_NR).view(f"V{band_NR.shape[1] * 4}").ravel()
        # Each row against the first of its bucket: linear, and another band finds what this one misses.
        first = np.unique(keys, return_index=True, return_inverse=True)
        pair = np.stack([first[1][first[2]], np.arange(count)], axis=1)
        pair = pair[pair[:, 0] != pair[:, 1]]
        alike = (sketch_NB[pair[:, 0]] == sketch_NB[pair[:, 1]]).mean(axis=1)
        pairs.append(pair[alike >= threshold])
    return np.unique(np.concatenate(pairs)[:, ::-1], axis=0)[:, ::-1]


def _rolling(data: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A hash of the SHINGLE bytes from each position: of 2w bytes from those of w, doubling."""
    with np.errstate(over="ignore"):
        hashes = data.astype(np.uint64) + np.uint64(1)
        base = np.uint64(0x9E3779B97F4A7C15)
        for doubling in range(_DOUBLINGS):
            width = 1 << doubling
            hashes = hashes[:-width] + base * hashes[width:]
            base *= base
        hashes ^= hashes >> np.uint64(32)
        hashes *= np.uint64(0xD6E8FEB86659FD93)
        hashes ^= hashes >> np.uint64(29)
        return hashes * np.uint64(0xFF51AFD7ED558CCD)


def _filled(bins_NB: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Empty bins borrow from the next full one, round the end (Shrivastava 2014)."""
    full_NB = bins_NB != _EMPTY
    place = np.where(np.tile(full_NB, 2), np.arange(2 * BINS), 2 * BINS)
    source_NB = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1][:, :BINS] % BINS
    # How far it is borrowed is mixed in, or two sparse texts would agree by sharing one bin.
    far_NB = ((source_NB - np.arange(BINS)) % BINS).astype(np.uint64)
    with np.errstate(over="ignore"):
        values = np.take_along_axis(bins_NB, source_NB, axis=1) + far_NB * np.uint64(0x9E3779B97F4A7C15)
        return (values >> np.uint64(16)).astype(np.uint32)
