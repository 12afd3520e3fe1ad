"""The stages of preparation, in the order in which they happen."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Data, Source, UserError, hash_file, write_atomic, write_json

from . import sources
from .documents import SPLITS, order_keys, take_chars
from .kept_rows import Rows, choose
from .manifest import QUESTIONS, REPORT, Manifest, Shard
from .prepare_parts import AssignCluster, ReadPart, Tokenise, WriteShard
from .progress import Progress, Reading, Speeds, Tell, tokens_written
from .runners import RunTasks, runner
from .shards import token_dtype
from .small import Need, merged
from .sources.rows import MOST_LISTED
from .spool import Spool
from .streams import window_order
from .tokenizing.choice import given, train
from .tokenizing.tokenizer import Tokenizer

_DOCUMENT = 3000
"""Bytes of a document, about, where none has been read."""
_FEW = 20
"""Documents that tell how many tokens a text makes."""


@dataclasses.dataclass
class Build:
    """One preparation in a working folder, which all workers must see."""

    data: Data
    work: Path
    seed: int
    parts: list[tuple[Source, str]]
    settings: str
    progress: Progress
    need: Need
    small: dict[str, int] = dataclasses.field(default_factory=dict, init=False)
    terms: str = dataclasses.field(default="", init=False)
    rows: Rows = dataclasses.field(init=False)

    def run(self) -> Manifest:
        """Prepare into `work/data`."""
        folder = self.work / "spool"
        folder.mkdir()
        spools = tuple(Spool(folder, f"{index:06d}") for index in range(len(self.parts)))
        reading = Reading(self.parts, spools)
        self._foresee(reading.total(), len(self.parts))

        def read() -> float:
            share = reading.share()
            self._foresee(reading.total(), len(self.parts))
            return share

        with self.progress.stage("reading", read) as tell:
            identities = [sources.identity(source, part) for source, part in self.parts]
            self.rows = self._read(spools, tell)
        self._foresee(float(self.rows.column("size").sum()), 0)
        with self.progress.stage("training the tokenizer"):
            tokenizer = given(self.data.tokenizer) or self._train_tokenizer()
            tokenizer.save(self.out)
        with self.progress.stage("tokenising", self._tokenised(tokenizer)) as tell:
            self._run_tasks([Tokenise(spool, self.out, tokenizer.end_id) for spool in self.rows.spools], tell)
        with self.progress.stage("making domains"):
            found = self._label() if self.data.domains.method == "label" else self._cluster(lambda share: None)
            names, domain_N = self._settled(*found)
        with self.progress.stage("writing shards") as tell:
            shards = self._write_shards(names, domain_N, tokenizer, tell)
            self._write_questions(names)
            return self._finish(names, domain_N, shards, tokenizer, identities)

    @cached_property
    def _run_tasks(self) -> RunTasks:
        return runner(self.data)

    @property
    def out(self) -> Path:
        return self.work / "data"

    def _foresee(self, size: float, unread: int) -> None:
        """What the stages will take on so many bytes of text, `unread` parts of which are still to be read."""
        speeds, tokenizer, domains = Speeds(), self.data.tokenizer, self.data.domains
        learns = tokenizer.type == "bpe"
        sample = min(size, domains.sample_docs * _DOCUMENT)
        clusters = sample / speeds.grouping + size / speeds.assigning if domains.method != "label" else 0.0
        read = {"reading": size / speeds.reading / min(self.data.workers, unread)} if unread else {}
        self.progress.foresee(read | {
            "training the tokenizer": learns * (speeds.learnt + min(size, tokenizer.sample_chars) / speeds.learning),
            "tokenising": size / speeds.tokenising, "making domains": clusters, "writing shards": size / speeds.writing,
        })

    def _tokenised(self, tokenizer: Tokenizer) -> Callable[[], float]:
        """How much of the text is tokenised, by the bytes of tokens on disk."""
        few = self.rows.texts(self.rows.train_sample()[:_FEW])
        tokens = max(sum(len(tokenizer.encode(text)) for text in few), 1)
        whole = float(self.rows.column("size").sum()) * tokens / max(sum(len(text.encode()) for text in few), 1)
        item = token_dtype(tokenizer.vocab_size).itemsize
        return lambda: min(tokens_written(self.rows.spools) / item / max(whole, 1.0), 0.99)

    def _read(self, spools: tuple[Spool, ...], tell: Tell) -> Rows:
        pairs = zip(spools, self.parts, strict=True)
        self._run_tasks([ReadPart(spool, source, part, self.data) for spool, (source, part) in pairs], tell)
        return choose(self.data, self.parts, spools)

    def _train_tokenizer(self) -> Tokenizer:
        rows = self.rows.train_sample()
        limit = self.data.tokenizer.sample_chars
        taken = take_chars(np.arange(len(rows), dtype=np.uint64), self.rows.chars_N[rows], limit)
        return train(self.data.tokenizer, self.rows.texts(rows[taken]))

    def _label(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        found = self.rows.label_ids()
        if found is None:
            source, part = self.parts[self.rows.spool_N[self.rows.labels_N.index(None)]]
            raise UserError("holds a document without a label", where=part,
                            mend=f"Set label or label_field (now {source.label_field!r}), or domains.method=balanced.")
        return tuple(found[0]), found[1]

    def _settled(
        self, names: tuple[str, ...], domain_N: NDArray[np.int64]
    ) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Domains large enough for what they are needed for, small ones left out or merged where that is asked for."""
        how, tokens_KS = self.data.domains.small, self._tokens_by_split(domain_N, len(names))
        small_K = self.need.small(tokens_KS)
        if how != "refuse" and small_K.any() and not small_K.all():
            self.small = {names[k]: int(tokens_KS[k].sum()) for k in np.flatnonzero(small_K)}
            if how == "drop":
                kept_N = ~small_K[domain_N]
                self.rows = self.rows.only(kept_N)
                names, domain_N = tuple(np.array(names)[~small_K]), (np.cumsum(~small_K) - 1)[domain_N[kept_N]]
            else:
                names, place_K = merged(names, small_K)
                domain_N = place_K[domain_N]
            tokens_KS = self._tokens_by_split(domain_N, len(names))
        self.need.refuse(names, tokens_KS)
        if self.data.domains.k not in (None, len(names)):
            raise UserError(f"is {self.data.domains.k}, but there are {len(names)} labels: {', '.join(names)}",
                            where="data.domains.k", mend="Set it to null or to that number.")
        return tuple(map(str, names)), domain_N

    def _tokens_by_split(self, domain_N: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        tokens_KS = np.zeros((k, len(SPLITS)), np.int64)
        np.add.at(tokens_KS, (domain_N, self.rows.split_N), self.rows.lengths())
        return tokens_KS

    def _cluster(self, tell: Tell) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        from .clusterer import fit, unit
        from .tfidf import TfIdf

        settings, k = self.data.domains, self.data.domains.k or 0
        rows = self.rows.train_sample()[: settings.sample_docs]
        if len(rows) < k:
            raise UserError(f"{k} clusters asked of {len(rows)} train documents", where="data.domains.k",
                            mend="Lower it or give more documents.")
        texts = self.rows.texts(rows)
        tfidf = TfIdf.fit(texts, settings, self.seed) if settings.vectors == "tfidf" else None
        x_ND = unit(tfidf.vectors(texts) if tfidf else self.rows.vectors()[rows])
        fitted = fit(x_ND, self.rows.lengths()[rows], settings, self.seed, tfidf)
        fitted.save(self.out)
        self.terms = tfidf.kind if tfidf else ""
        self._run_tasks([AssignCluster(spool, self.out) for spool in self.rows.spools], tell)
        names = tuple(f"cluster_{index:0{len(str(k - 1))}d}" for index in range(k))
        domain_N = self.rows.column("cluster")
        write_json(self.out / REPORT, self._describe(names, domain_N, fitted.describe(texts, x_ND)))
        return names, domain_N

    def _describe(
        self, names: tuple[str, ...], domain_N: NDArray[np.int64], found: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """What each cluster is about: its terms and nearest documents, and the share of each label in tokens."""
        shares_KL = self._label_tokens(domain_N)
        if shares_KL is None:
            return [{"name": name, **about} for name, about in zip(names, found, strict=True)]
        labels = (self.rows.label_ids() or ([], None))[0]
        return [
            {"name": name, **about,
             "labels": {label: float(n / max(row.sum(), 1)) for label, n in zip(labels, row, strict=True) if n}}
            for name, about, row in zip(names, found, shares_KL, strict=True)
        ]

    def _write_shards(
        self, names: tuple[str, ...], domain_N: NDArray[np.int64], tokenizer: Tokenizer, tell: Tell
    ) -> list[Shard]:
        count, split_N = self.data.shards, self.rows.split_N
        length_N, start_N = self.rows.lengths(), self.rows.token_starts()
        keys_N = order_keys(self.rows.digest_N2, self.seed)
        # The shard is the head of the order key, so the run of tokens does not depend on the number of shards.
        shard_N = (keys_N / 2.0**64 * count).astype(np.int64).clip(max=count - 1)
        order = np.lexsort([keys_N, shard_N, domain_N, split_N])
        group_N3 = np.stack([split_N, domain_N, shard_N], axis=1)[order]
        shards, tasks = [], []
        for rows in np.split(order, np.flatnonzero(np.any(np.diff(group_N3, axis=0), axis=1)) + 1):
            split, domain, shard = SPLITS[split_N[rows[0]]], int(domain_N[rows[0]]), int(shard_N[rows[0]])
            file = f"{split}/{domain:04d}-{shard:05d}-of-{count:05d}.arrayrecord"
            (self.out / file).parent.mkdir(exist_ok=True)
            where = np.stack([self.rows.spool_N[rows], start_N[rows], length_N[rows] - 1], axis=1)
            ids = tokenizer.vocab_size, tokenizer.end_id
            tasks.append(WriteShard(self.out / file, self.rows.spools, where, *ids))
            shards.append(Shard(file, names[domain], split, len(rows), int(length_N[rows].sum()), ""))
        self._run_tasks(tasks, tell)
        return [dataclasses.replace(shard, hash=hash_file(self.out / shard.file)) for shard in shards]

    def _write_questions(self, names: tuple[str, ...]) -> None:
        """What the sources know to ask, where labels are the domains: a cluster is not what a question names."""
        asked = [question for source, part in self.parts for question in sources.questions(source, part)]
        if asked and {question.domain for question in asked} <= set(names):
            lines = (json.dumps(question._asdict()) + "\n" for question in asked)
            write_atomic(self.out / QUESTIONS, "".join(lines))

    def _finish(
        self, names: tuple[str, ...], domain_N: NDArray[np.int64], shards: list[Shard], tokenizer: Tokenizer,
        identities: list[str],
    ) -> Manifest:
        files = {path.name: hash_file(path) for path in sorted(self.out.iterdir()) if path.is_file()}
        manifest = Manifest(
            method=self.data.domains.method, domains=names, seed=self.seed, settings=self.settings,
            tokenizer={"type": self.data.tokenizer.type, "vocab_size": tokenizer.vocab_size, "hash": tokenizer.hash},
            shards=tuple(shards), files=files, dropped=self.rows.dropped, purity=self._purity(domain_N),
            weights=self._weights(names, shards),
            sources=tuple({"type": source.type, "part": part, "hash": told}
                          for (source, part), told in zip(self.parts, identities, strict=True)),
            window_order=window_order(), end_id=tokenizer.end_id, **self._skipped(),
            near_duplicates=self._near(names, domain_N), near_examples=self.rows.near_examples,
            terms=self.terms, small=self.small, small_were="" if not self.small else self.data.domains.small,
        )
        manifest.save(self.out)
        return manifest

    def _near(self, names: tuple[str, ...], domain_N: NDArray[np.int64]) -> dict[str, int]:
        """Near-duplicates left out, by the domain of the document that each is like."""
        near_M = self.rows.near_M
        counts = np.bincount(domain_N[near_M[near_M >= 0]], minlength=len(names))
        return {name: int(count) for name, count in zip(names, counts, strict=True) if count}

    def _skipped(self) -> dict[str, Any]:
        """What rows were left out, over all parts in their order."""
        reasons: dict[str, int] = {}
        rows: list[str] = []
        for spool in self.rows.spools:
            found = spool.skips()
            rows += found.rows
            for reason, count in found.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
        return {"skipped": reasons, "skipped_rows": tuple(rows[:MOST_LISTED])}

    def _weights(self, names: tuple[str, ...], shards: list[Shard]) -> tuple[float, ...] | None:
        """A Mixture's rates in tokens: its rates count examples, and examples differ in length."""
        rates: dict[str, float] = {}
        for source in self.data.sources:
            rates |= sources.rates(source)
        if set(rates) != set(names):
            return None
        train_shards = [shard for shard in shards if shard.split == "train"]
        mean = {name: sum(s.tokens for s in train_shards if s.domain == name)
                / sum(s.documents for s in train_shards if s.domain == name) for name in names}
        return tuple(rates[name] * mean[name] for name in names)

    def _label_tokens(self, domain_N: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Train tokens of each domain and label; None where a document has no label."""
        found = self.rows.label_ids()
        if found is None:
            return None
        tokens_KL = np.zeros((domain_N.max() + 1, len(found[0])))
        train_N = self.rows.split_N == 0
        np.add.at(tokens_KL, (domain_N[train_N], found[1][train_N]), self.rows.lengths()[train_N])
        return tokens_KL

    def _purity(self, domain_N: NDArray[np.int64]) -> float | None:
        """Share of train tokens under the commonest label of their domain."""
        tokens_KL = self._label_tokens(domain_N)
        return None if tokens_KL is None else float(tokens_KL.max(1).sum() / tokens_KL.sum())
