"""The parts of preparation that run side by side: each reads files, writes files and returns nothing.

What they pass on lies in `.npy` and JSON files of the working folder, so that a task may run in this process, in
another one or on another machine that sees the same folder, and the result cannot depend on which.
"""

from __future__ import annotations

import dataclasses
import functools
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

_BATCH_CHARS = 1 << 22
_LONG_CHARS = 1 << 20
_MOST_OPEN = 128
T = TypeVar("T")


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
            for documents in _batches(self._documents(), lambda document: len(document.text)):
                texts = [document.text.encode() for document in documents]
                file.write(b"".join(texts))
                columns["size"] += map(len, texts)
                columns["chars"] += (len(document.text) for document in documents)
                columns["blank"] += (not document.text or document.text.isspace() for document in documents)
                columns["label"] += (labels.setdefault(document.label, len(labels)) for document in documents)
                digests += map(digest, texts)
                ids += (document.ids for document in documents if document.ids is not None)
                vectors += (document.vector for document in documents if document.vector is not None)
                if self.data.near_duplicates is not None:
                    sketches.append(minhash.sketches(texts))
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
                tokens = np.array(ids, dtype)
                if (tokens == self.end_id).any():
                    raise UserError("the tokenizer found an end of text inside a document", where="data.tokenizer")
                file.write(tokens.tobytes())
                lengths[row] = len(ids)
        self.spool.save_array("length", lengths)

    def _encoded(self, kept: NDArray[np.int64], tokenizer: Tokenizer) -> Iterator[Sequence[int] | NDArray[np.int32]]:
        def encode(texts: list[str]) -> list[Any]:
            short = iter(tokenizer.encode_batch([text for text in texts if len(text) < _LONG_CHARS]))
            return [next(short) if len(text) < _LONG_CHARS else tokenizer.encode_long(text) for text in texts]

        batches = _batches(self.spool.texts(kept), len)
        # One batch is encoded (on all cores, without the GIL) while the one before is written.
        with ThreadPoolExecutor(1) as ahead:
            now = None
            for texts in batches:
                then = ahead.submit(encode, texts)
                yield from now.result() if now else ()
                now = then
            yield from now.result() if now else ()

    def _kept_ids(self, kept: NDArray[np.int64]) -> Iterator[list[int]]:
        counts, ids = self.spool.array("id_count").astype(np.int64), self.spool.array("ids")
        starts = np.cumsum(counts) - counts
        for row in kept:
            yield ids[starts[row] : starts[row] + counts[row]].tolist()


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


def _batches(items: Iterable[T], chars: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    held = 0
    for item in items:
        batch.append(item)
        held += chars(item)
        if held >= _BATCH_CHARS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
