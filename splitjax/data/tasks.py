"""The parts of preparation that run side by side: each reads files, writes files and returns nothing.

What they pass on lies in `.npy` and JSON files of the working folder, so that a task may run in this process, in
another one or on another machine that sees the same folder, and the result cannot depend on which.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Source

from . import sources
from .documents import digest, digests_array
from .shards import token_dtype, write_shard
from .tokenizer import Tokenizer

_BATCH_CHARS = 1 << 22


@dataclasses.dataclass(frozen=True)
class Spool:
    """Texts of one part of a source, as `name.txt` with arrays beside it."""

    folder: Path
    name: str

    def array(self, kind: str) -> NDArray[np.generic]:
        return np.load(self.folder / f"{self.name}.{kind}.npy", allow_pickle=False)

    def save_array(self, kind: str, values: NDArray[np.generic]) -> None:
        np.save(self.folder / f"{self.name}.{kind}.npy", values, allow_pickle=False)

    def labels(self) -> list[str | None]:
        """The label of each document."""
        names, ids = json.loads((self.folder / f"{self.name}.labels.json").read_text()), self.array("label")
        return [names[index] for index in ids]

    def texts(self, indices: NDArray[np.int64]) -> Iterator[str]:
        """Documents by index, read one at a time."""
        sizes = self.array("size").astype(np.int64)
        starts = np.cumsum(sizes) - sizes
        with open(self.folder / f"{self.name}.txt", "rb") as file:
            for index in indices:
                file.seek(int(starts[index]))
                yield file.read(int(sizes[index])).decode()


@dataclasses.dataclass(frozen=True)
class ReadPart:
    """Source part → spool: `size` (bytes), `chars`, `digest`, `label`."""

    spool: Spool
    source: Source
    part: str

    def run(self) -> None:
        sizes, chars, digests, ids = [], [], [], []
        labels: dict[str | None, int] = {}
        with open(self.spool.folder / f"{self.spool.name}.txt", "wb") as file:
            for text, label in sources.read(self.source, self.part):
                data = text.encode()
                file.write(data)
                sizes.append(len(data))
                chars.append(len(text))
                digests.append(digest(data))
                ids.append(labels.setdefault(label, len(labels)))
        self.spool.save_array("size", np.array(sizes, np.int64))
        self.spool.save_array("chars", np.array(chars, np.int64))
        self.spool.save_array("digest", digests_array(digests))
        self.spool.save_array("label", np.array(ids, np.int32))
        (self.spool.folder / f"{self.spool.name}.labels.json").write_text(json.dumps(list(labels)))


@dataclasses.dataclass(frozen=True)
class Tokenise:
    """Spool → `tokens` (ids of the kept documents, one after another) and `length` (0 where a document is dropped)."""

    spool: Spool
    folder: Path

    def run(self) -> None:
        tokenizer = Tokenizer.load(self.folder)
        dtype = token_dtype(tokenizer.vocab_size)
        kept = np.flatnonzero(self.spool.array("keep"))
        lengths = np.zeros(len(self.spool.array("keep")), np.int64)
        done = 0
        with open(self.spool.folder / f"{self.spool.name}.tokens", "wb") as file:
            for texts in _batches(self.spool.texts(kept)):
                for ids in tokenizer.encode_batch(texts):
                    file.write(np.array(ids, dtype).tobytes())
                    lengths[kept[done]] = len(ids)
                    done += 1
        self.spool.save_array("length", lengths)


@dataclasses.dataclass(frozen=True)
class WriteShard:
    """Documents of one domain, split and shard, in order → ArrayRecord. `rows` holds spool, start, length."""

    path: Path
    spools: tuple[Spool, ...]
    rows: NDArray[np.int64]
    vocab_size: int

    def run(self) -> None:
        dtype = token_dtype(self.vocab_size)
        runs = {int(index): _token_map(self.spools[index], dtype) for index in np.unique(self.rows[:, 0])}
        write_shard(self.path, (runs[index][start : start + size] for index, start, size in self.rows.tolist()), dtype)


def _token_map(spool: Spool, dtype: np.dtype) -> NDArray[np.integer]:
    path = spool.folder / f"{spool.name}.tokens"
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text)
        if chars >= _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


@dataclasses.dataclass(frozen=True)
class AssignCluster:
    """Spool → `cluster` of each kept document."""

    spool: Spool
    folder: Path

    def run(self) -> None:
        from .clusterer import Clusterer

        clusterer = Clusterer.load(self.folder)
        kept = np.flatnonzero(self.spool.array("keep"))
        found = [clusterer.assign(texts) for texts in _batches(self.spool.texts(kept))]
        self.spool.save_array("cluster", np.concatenate([np.empty(0, np.int64), *found]))
