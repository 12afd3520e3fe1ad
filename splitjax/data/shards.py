"""Tokens on disk: ArrayRecord files of fixed-size records, read at any position.

A shard is one run of tokens (documents in order, each begun by the id that ends one), cut into records of
`RECORD_TOKENS`; the last record is shorter. So any span is found by arithmetic, without an index of documents,
whatever their lengths.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError

RECORD_TOKENS = 4096
_STRETCH = 64 * RECORD_TOKENS
"""Tokens of a document that are in memory at a time."""
_MOST_OPEN = 128
"""Shards open at a time, over all runs: a process may open 1,024 files where nobody has said otherwise."""


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest little-endian type that holds the ids."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def write_shard(
    path: Path, documents: Iterable[NDArray[np.integer]], dtype: np.dtype[Any], end_id: int = 0
) -> None:
    """Write documents as one shard, `end_id` before each.

    Raises:
        UserError: the disk is full.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    # Uncompressed: BPE ids gain 15 % from zstd and cost twice the time to read.
    try:
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        pending, end = np.empty(0, dtype), np.array([end_id], dtype)
        for tokens in documents:
            pending = np.concatenate([pending, end])
            for first in range(0, max(len(tokens), 1), _STRETCH):
                pending = np.concatenate([pending, tokens[first : first + _STRETCH].astype(dtype)])
                whole = len(pending) // RECORD_TOKENS * RECORD_TOKENS
                for start in range(0, whole, RECORD_TOKENS):
                    writer.write(pending[start : start + RECORD_TOKENS].tobytes())
                pending = pending[whole:].copy()  # or the whole stretch would be held with it
        if len(pending):
            writer.write(pending.tobytes())
        writer.close()
    except RuntimeError as error:  # what its C++ layer makes of a full disk
        raise UserError(f"cannot be written ({error})", where=str(path), mend="Free space.") from error


class TokenRun:
    """The concatenation of shards as one array of tokens that stays on disk."""

    def __init__(self, paths: Sequence[Path], counts: Sequence[int], dtype: np.dtype[Any]) -> None:
        self._paths, self._dtype = list(paths), dtype
        self._ends = np.cumsum(np.asarray(counts, np.int64))
        for path, count in zip(paths, counts, strict=True):
            if _reader(str(path)).num_records() != -(-count // RECORD_TOKENS):
                raise UserError("holds another number of records than its manifest says", where=str(path))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        """Tokens [start, stop).

        Raises:
            UserError: a damaged record; names the file.
        """
        out = np.empty(stop - start, np.int32)
        shard = int(np.searchsorted(self._ends, start, side="right"))
        filled = 0
        while filled < len(out):
            base = int(self._ends[shard - 1]) if shard else 0
            begin = start + filled - base
            end = min(stop, int(self._ends[shard])) - base
            out[filled : filled + end - begin] = self._read_shard(shard, begin, end)
            filled += end - begin
            shard += 1
        return out

    def _read_shard(self, shard: int, begin: int, end: int) -> NDArray[Any]:
        first, last = begin // RECORD_TOKENS, (end - 1) // RECORD_TOKENS
        try:
            records = _reader(str(self._paths[shard])).read(list(range(first, last + 1)))
        except Exception as error:  # array_record raises what its C++ layer hands it
            raise UserError(f"damaged ({error})", where=str(self._paths[shard]), mend="Run prepare again.") from error
        tokens = np.frombuffer(b"".join(records), self._dtype)
        return tokens[begin - first * RECORD_TOKENS : end - first * RECORD_TOKENS]


@functools.lru_cache(maxsize=_MOST_OPEN)
def _reader(path: str) -> Any:
    """The shard, open; one that nobody has read for long is closed, when its last reader is through with it."""
    from array_record.python.array_record_module import ArrayRecordReader

    # Random access: a read-ahead buffer would only fetch what nobody asked for.
    return ArrayRecordReader(path, "readahead_buffer_size:0")
