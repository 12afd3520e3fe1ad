"""The parts of preparation that run side by side: each reads files, writes files and returns nothing.

What they pass on lies in `.npy` and JSON files of the working folder, so that a task may run in this process, in
another one or on another machine that sees the same folder, and the result cannot depend on which.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Data, Source, UserError

from . import minhash, sources
from .documents import Document, digest, digests_array
from .minhash import BINS
from .shards import token_dtype, write_shard
from .sources.rows import Skips
from .spool import Spool
from .tokenizing.choice import given
from .tokenizing.tokenizer import Tokenizer

_BATCH = 1 << 22
"""Bytes of documents that are worked on at a time."""
_LONG = 1 << 20
"""Bytes from which a document is worked on alone, piece after piece."""
_MOST_OPEN = 128
T = TypeVar("T")
Ids = Sequence[int] | NDArray[np.integer]


@dataclasses.dataclass(frozen=True)
class ReadPart:
    """Source part → spool: `size` (bytes), `chars`, `blank`, `digest`, `label`, `sketch`; `ids` where it has them."""

    spool: Spool
    source: Source
    part: str
    data: Data

    def run(self) -> None:
        labels: dict[str | None, int] = {}
        columns: dict[str, list[Any]] = {name: [] for name in ("size", "chars", "label", "blank")}
        digests: list[bytes] = []
        ids: list[NDArray[np.integer]] = []
        vectors: list[NDArray[np.float32]] = []
        sketches = [np.empty((0, BINS), np.uint32)]
        with open(self.spool.path("txt"), "wb") as file:
            for documents in _batches(self._documents(), lambda document: len(document.data)):
                texts = [document.data for document in documents]
                file.write(b"".join(texts))
                columns["size"] += map(len, texts)
                columns["chars"] += map(_chars, texts)
                columns["blank"] += map(_blank, texts)
                columns["label"] += (labels.setdefault(document.label, len(labels)) for document in documents)
                digests += map(digest, texts)
                ids += (document.ids for document in documents if document.ids is not None)
                vectors += (document.vector for document in documents if document.vector is not None)
                if self.data.near_duplicates is not None:
                    sketches.append(minhash.sketches(texts))
                del documents, texts  # or they would be held beside the next
        for name, values in columns.items():
            self.spool.save_array(name, np.array(values, np.int64))
        self.spool.path("skipped.json").write_text(json.dumps(dataclasses.asdict(self._skips)))
        self.spool.save_array("digest", digests_array(digests))
        self.spool.save_array("sketch", np.concatenate(sketches))
        self.spool.path("labels.json").write_text(json.dumps(list(labels)))
        if vectors:
            self.spool.save_array("vector", self._stacked(vectors))
        if ids:
            self.spool.save_array("ids", np.concatenate(ids).astype(np.uint32))
            self.spool.save_array("id_count", np.array([len(each) for each in ids], np.int64))

    def _stacked(self, vectors: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        if len({len(vector) for vector in vectors}) != 1:
            raise UserError("embeddings differ in length", where=self.part)
        return np.stack(vectors)

    def _documents(self) -> Iterator[Document]:
        tokenised = self.source.type in ("tokens", "seqio")
        return sources.read(self.source, self.part, given(self.data.tokenizer) if tokenised else None, self._skips)

    @functools.cached_property
    def _skips(self) -> Skips:
        return Skips(need_label=self.data.domains.method == "label" and self.source.on_error == "skip")


@dataclasses.dataclass(frozen=True)
class Tokenise:
    """Spool → `tokens` (ids of the kept documents, one after another) and `length` (0 where a document is dropped)."""

    spool: Spool
    folder: Path
    end_id: int = 0

    def run(self) -> None:
        tokenizer = Tokenizer.load(self.folder, self.end_id)
        dtype = token_dtype(tokenizer.vocab_size)
        keep = self.spool.array("keep")
        kept = np.flatnonzero(keep)
        found = self._kept_ids(kept) if self.spool.path("ids.npy").exists() else self._encoded(kept, tokenizer)
        lengths = np.zeros(len(keep), np.int64)
        with open(self.spool.path("tokens"), "wb") as file:
            for row, ids in zip(kept, found, strict=True):
                for some in ids:
                    tokens = np.array(some, dtype)
                    if (tokens == self.end_id).any():
                        raise UserError("the tokenizer found an end of text inside a document", where="data.tokenizer")
                    file.write(tokens.tobytes())
                    lengths[row] += len(some)
        self.spool.save_array("length", lengths)

    def _encoded(self, kept: NDArray[np.int64], tokenizer: Tokenizer) -> Iterator[Iterable[Ids]]:
        """The ids of each document, in one or in several stretches."""
        long_N = self.spool.array("size").astype(np.int64)[kept] >= _LONG
        texts, done = self.spool.texts(kept[~long_N]), 0
        # One batch is encoded (on all cores, without the GIL) while the one before is written.
        with ThreadPoolExecutor(1) as ahead:
            for place in [*np.flatnonzero(long_N).tolist(), len(kept)]:
                now = None
                for batch in _batches(itertools.islice(texts, place - done), len):
                    then = ahead.submit(tokenizer.encode_batch, batch)
                    yield from ([ids] for ids in now.result()) if now else ()
                    now = then
                yield from ([ids] for ids in now.result()) if now else ()
                if place < len(kept):
                    yield tokenizer.encode_long(self.spool.chunks(int(kept[place])))
                done = place + 1

    def _kept_ids(self, kept: NDArray[np.int64]) -> Iterator[Iterable[Ids]]:
        counts = self.spool.array("id_count").astype(np.int64)
        ids = self.spool.array("ids").astype(np.uint32, copy=False)
        starts = np.cumsum(counts) - counts
        for row in kept:
            yield [ids[starts[row] : starts[row] + counts[row]]]


@dataclasses.dataclass(frozen=True)
class WriteShard:
    """Documents of one domain, split and shard, in order → ArrayRecord. `rows` holds spool, start, length."""

    path: Path
    spools: tuple[Spool, ...]
    rows: NDArray[np.int64]
    vocab_size: int
    end_id: int = 0

    def run(self) -> None:
        dtype = token_dtype(self.vocab_size)

        @functools.lru_cache(maxsize=_MOST_OPEN)  # a map keeps its file open, and there may be more files than may be
        def tokens_of(index: int) -> NDArray[np.integer]:
            return _token_map(self.spools[index], dtype)

        documents = (tokens_of(index)[start : start + size] for index, start, size in self.rows.tolist())
        write_shard(self.path, documents, dtype, self.end_id)


def _token_map(spool: Spool, dtype: np.dtype) -> NDArray[np.integer]:
    path = spool.path("tokens")
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)


@dataclasses.dataclass(frozen=True)
class AssignCluster:
    """Spool → `cluster` of each kept document."""

    spool: Spool
    folder: Path

    def run(self) -> None:
        from .clusterer import Clusterer

        clusterer = Clusterer.load(self.folder)
        keep = self.spool.array("keep")
        kept = np.flatnonzero(keep)
        cluster = np.zeros(len(keep), np.int64)
        if clusterer.tfidf is None:
            cluster[kept] = clusterer.assign_vectors(self.spool.array("vector")[kept].astype(np.float32))
        else:
            found = [clusterer.assign(texts) for texts in _batches(self.spool.texts(kept), len)]
            cluster[kept] = np.concatenate([np.empty(0, np.int64), *found])
        self.spool.save_array("cluster", cluster)


def _chars(text: bytes) -> int:
    """Characters of UTF-8: bytes that go on with none."""
    if len(text) < _LONG:
        return len(text.decode())
    parts = (np.frombuffer(text, np.uint8, min(_LONG, len(text) - at), at) for at in range(0, len(text), _LONG))
    return sum(int(((part & 0xC0) != 0x80).sum()) for part in parts)


def _blank(text: bytes) -> bool:
    """Whether it is white space alone."""
    head = text[:_LONG].decode(errors="ignore")
    return (not head or head.isspace()) and not text.decode().strip()


def _batches(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    held = 0
    for item in items:
        batch.append(item)
        held += size(item)
        if held >= _BATCH:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
