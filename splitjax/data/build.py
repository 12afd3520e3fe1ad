"""The stages of preparation, in the order in which they happen."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Data, Source, UserError, hash_file

from . import sources
from .documents import SPLITS, cap_keys, order_keys, sample_keys, split_ids, take_chars
from .manifest import Manifest, Shard
from .progress import Progress
from .runners import run_tasks
from .streams import window_order
from .tasks import AssignCluster, ReadPart, Spool, Tokenise, WriteShard
from .tokenizer import Tokenizer, train_bpe


@dataclasses.dataclass
class Build:
    """One preparation in a working folder. Documents are rows of arrays; their texts stay on disk."""

    data: Data
    work: Path
    seed: int
    parts: list[tuple[Source, str]]
    settings: str
    progress: Progress
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)

    def run(self) -> Manifest:
        with self.progress.stage("reading", 0.0, 0.15) as tell:
            identities = [sources.identity(source, part) for source, part in self.parts]
            run_tasks([ReadPart(spool, source, part) for spool, (source, part) in self._spooled()],
                      self.data.workers, tell)
            self._choose()
        with self.progress.stage("training the tokenizer", 0.15, 0.35):
            tokenizer = self._train_tokenizer()
        with self.progress.stage("tokenising", 0.35, 0.75) as tell:
            run_tasks([Tokenise(spool, self.out) for spool in self.spools], self.data.workers, tell)
        with self.progress.stage("making domains", 0.75, 0.9) as tell:
            names, domain_N = self._label() if self.data.domains.method == "label" else self._cluster(tell)
        with self.progress.stage("writing shards", 0.9, 1.0) as tell:
            shards = self._write_shards(names, domain_N, tokenizer.vocab_size, tell)
            return self._finish(names, domain_N, shards, tokenizer, identities)

    @property
    def out(self) -> Path:
        return self.work / "data"

    @cached_property
    def spools(self) -> tuple[Spool, ...]:
        (self.work / "spool").mkdir()
        return tuple(Spool(self.work / "spool", f"{index:06d}") for index in range(len(self.parts)))

    def _spooled(self) -> list[tuple[Spool, tuple[Source, str]]]:
        return list(zip(self.spools, self.parts, strict=True))

    def _column(self, kind: str) -> NDArray:
        return np.concatenate([spool.array(kind) for spool in self.spools])

    def _choose(self) -> None:
        """Drop empty documents, duplicates, and what lies beyond a cap; the rest are the rows from now on."""
        digest_A2, chars_A, size_A = self._column("digest"), self._column("chars"), self._column("size")
        labels = [label for spool in self.spools for label in spool.labels()]
        counts = [len(spool.array("size")) for spool in self.spools]
        spool_A = np.repeat(np.arange(len(counts)), counts)
        keep_A = size_A > 0
        self.dropped["empty"] = int((~keep_A).sum())
        # The first of equal documents stays: order of sources, then of lines.
        first = np.unique(digest_A2, axis=0, return_index=True)[1]
        unique_A = np.zeros(len(keep_A), bool)
        unique_A[first] = True
        self.dropped["exact_duplicates"] = int((keep_A & ~unique_A).sum())
        keep_A &= unique_A
        before = int(keep_A.sum())
        self._cap(keep_A, digest_A2, chars_A, spool_A, labels)
        self.dropped["beyond_max_chars"] = before - int(keep_A.sum())
        if not keep_A.any():
            raise UserError("the sources hold no documents", where="data.sources")
        starts = np.cumsum([0, *counts])
        for index, spool in enumerate(self.spools):
            spool.save_array("keep", keep_A[starts[index] : starts[index + 1]])
        rows = np.flatnonzero(keep_A)
        self.digest_N2, self.chars_N, self.spool_N = digest_A2[rows], chars_A[rows], spool_A[rows]
        self.index_N = rows - starts[self.spool_N]
        self.labels_N = [labels[row] for row in rows]
        self.split_N = split_ids(self.digest_N2, self.data.validation, self.data.test)

    def _cap(self, keep_A: NDArray[np.bool_], digest_A2: NDArray[np.uint64], chars_A: NDArray[np.int64],
             spool_A: NDArray[np.int64], labels: list[str | None]) -> None:
        """Apply each source's `max_chars` to each of its labels."""
        label_A = np.unique([label or "" for label in labels], return_inverse=True)[1]
        for source in self.data.sources:
            if source.max_chars is None:
                continue
            ours_A = keep_A & np.isin(spool_A, [i for i, (other, _) in enumerate(self.parts) if other is source])
            for label in np.unique(label_A[ours_A]):
                rows = np.flatnonzero(ours_A & (label_A == label))
                taken = take_chars(cap_keys(digest_A2[rows]), chars_A[rows], source.max_chars)
                keep_A[np.delete(rows, taken)] = False

    def _texts(self, rows: NDArray[np.int64]) -> list[str]:
        """Texts of rows, in their order."""
        found: dict[int, str] = {}
        for index in np.unique(self.spool_N[rows]):
            here = rows[self.spool_N[rows] == index]
            found.update(zip(here.tolist(), self.spools[index].texts(self.index_N[here]), strict=True))
        return [found[row] for row in rows.tolist()]

    def _train_rows(self) -> NDArray[np.int64]:
        """Train documents in the order of the hash that chooses samples."""
        rows = np.flatnonzero(self.split_N == 0)
        return rows[np.argsort(sample_keys(self.digest_N2[rows]), kind="stable")]

    def _train_tokenizer(self) -> Tokenizer:
        rows = self._train_rows()
        if not len(rows):
            raise UserError("the sources hold no train document", where="data.sources", mend="Give more text.")
        taken = take_chars(np.arange(len(rows), dtype=np.uint64), self.chars_N[rows], self.data.tokenizer.sample_chars)
        tokenizer = train_bpe(self._texts(rows[taken]), self.data.tokenizer.vocab_size)
        tokenizer.save(self.out)
        return tokenizer

    def _lengths(self) -> NDArray[np.int64]:
        """Tokens of each document, its leading ``<|endoftext|>`` included."""
        return np.concatenate([spool.array("length")[spool.array("keep")] for spool in self.spools]) + 1

    def _label(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        if None in self.labels_N:
            source, part = self.parts[self.spool_N[self.labels_N.index(None)]]
            raise UserError("holds a document without a label", where=part,
                            mend=f"Set label or label_field (now {source.label_field!r}), or domains.method=balanced.")
        names, domain_N = np.unique(np.array(self.labels_N), return_inverse=True)
        if self.data.domains.k not in (None, len(names)):
            raise UserError(f"is {self.data.domains.k}, but there are {len(names)} labels: {', '.join(names)}",
                            where="data.domains.k", mend="Set it to null or to that number.")
        return tuple(names.tolist()), domain_N

    def _cluster(self, tell) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        from . import clusterer

        settings, k = self.data.domains, self.data.domains.k or 0
        rows = self._train_rows()[: settings.sample_docs]
        if len(rows) < k:
            raise UserError(f"{k} clusters asked of {len(rows)} train documents", where="data.domains.k",
                            mend="Lower it or give more documents.")
        clusterer.fit(self._texts(rows), self._lengths()[rows], settings, self.seed).save(self.out)
        run_tasks([AssignCluster(spool, self.out) for spool in self.spools], self.data.workers, tell)
        width = len(str(k - 1))
        return tuple(f"cluster_{index:0{width}d}" for index in range(k)), self._column("cluster")

    def _write_shards(self, names: tuple[str, ...], domain_N: NDArray[np.int64], vocab_size: int, tell) -> list[Shard]:
        length_N, keys_N = self._lengths(), order_keys(self.digest_N2, self.seed)
        start_N = np.concatenate([np.cumsum(n := spool.array("length")) - n for spool in self.spools])
        start_N = start_N[self._column("keep")]
        # The shard is the head of the order key, so the run of tokens does not depend on the number of shards.
        shard_N = (keys_N / 2.0**64 * self.data.shards).astype(np.int64).clip(max=self.data.shards - 1)
        order = np.lexsort([keys_N, shard_N, domain_N, self.split_N])
        group_N3 = np.stack([self.split_N, domain_N, shard_N], axis=1)[order]
        cuts = np.flatnonzero(np.any(np.diff(group_N3, axis=0), axis=1)) + 1
        shards, tasks = [], []
        for rows in np.split(order, cuts):
            split, domain, shard = int(self.split_N[rows[0]]), int(domain_N[rows[0]]), int(shard_N[rows[0]])
            file = f"{SPLITS[split]}/{domain:04d}-{shard:05d}-of-{self.data.shards:05d}.arrayrecord"
            (self.out / file).parent.mkdir(exist_ok=True)
            where = np.stack([self.spool_N[rows], start_N[rows], length_N[rows] - 1], axis=1)
            tasks.append(WriteShard(self.out / file, self.spools, where, vocab_size))
            shards.append(Shard(file, names[domain], SPLITS[split], len(rows), int(length_N[rows].sum()), ""))
        self._refuse_empty(names, shards)
        run_tasks(tasks, self.data.workers, tell)
        return [dataclasses.replace(shard, hash=hash_file(self.out / shard.file)) for shard in shards]

    def _refuse_empty(self, names: tuple[str, ...], shards: list[Shard]) -> None:
        found = {(shard.domain, shard.split) for shard in shards}
        for name in names:
            for split in SPLITS:
                if (name, split) not in found:
                    raise UserError(f"domain '{name}' has no {split} document", where="data.domains",
                                    mend="Give it more documents, or raise data.validation and data.test.")

    def _finish(self, names: tuple[str, ...], domain_N: NDArray[np.int64], shards: list[Shard],
                tokenizer: Tokenizer, identities: list[str]) -> Manifest:
        files = {path.name: hash_file(path) for path in sorted(self.out.iterdir()) if path.is_file()}
        manifest = Manifest(
            method=self.data.domains.method, domains=names, seed=self.seed, settings=self.settings,
            tokenizer={"type": self.data.tokenizer.type, "vocab_size": tokenizer.vocab_size, "hash": tokenizer.hash},
            shards=tuple(shards), files=files, dropped=dict(self.dropped), purity=self._purity(domain_N),
            sources=tuple({"type": source.type, "part": part, "hash": told}
                          for (source, part), told in zip(self.parts, identities, strict=True)),
            window_order=window_order(),
        )
        manifest.save(self.out)
        return manifest

    def _purity(self, domain_N: NDArray[np.int64]) -> float | None:
        """Share of train tokens under the commonest label of their domain."""
        if None in self.labels_N:
            return None
        label_N = np.unique(np.array(self.labels_N), return_inverse=True)[1]
        tokens_KL = np.zeros((domain_N.max() + 1, label_N.max() + 1))
        train_N = self.split_N == 0
        np.add.at(tokens_KL, (domain_N[train_N], label_N[train_N]), self._lengths()[train_N])
        return float(tokens_KL.max(1).sum() / tokens_KL.sum())
