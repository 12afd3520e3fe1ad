"""What lies in a data folder: counts, hashes, lineage; versioned."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from splitjax.config import UserError, check_shape, hash_file, hash_json, read_json, read_record, write_record

from .documents import SPLITS

VERSION = 3
_READ = (2, VERSION)
FILE = "manifest.json"
REPORT = "domains.json"
QUESTIONS = "questions.jsonl"
OTHER = "other"
"""The domain that small ones are merged into."""
MEND = "Remove the folder of prepared data and run prepare again."


@dataclasses.dataclass(frozen=True)
class Shard:
    """One ArrayRecord file; `tokens` counts the id at the head of each document too."""

    file: str
    domain: str
    split: str
    documents: int
    tokens: int
    hash: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of a data folder.

    Attributes:
        method: how domains were made (`label`, `kmeans`, `balanced`).
        domains: names in order; the index is the expert's.
        seed: of the order of documents.
        tokenizer: `type`, `vocab_size`, `hash`.
        shards: in order: by split, domain and number.
        files: hash of every other file, by name.
        sources: each part read, with the hash that tells whether it has changed since.
        dropped: documents left out, by reason.
        near_duplicates: how many of them by the domain of the document that was kept.
        near_examples: openings of a kept document and of one left out for it.
        terms: what clusters were made by, "words" or "characters"; "" for labels and given embeddings.
        small: tokens of the domains that were too small, by name.
        small_were: what became of them: "drop" or "merge"; "" where there are none.
        skipped: rows left out under `on_error: skip`, by reason.
        skipped_rows: the first of them, with file and line.
        purity: share of train tokens whose label is the commonest of their domain; None without labels.
        weights: default weights of the mixture that the source declares (a seqio Mixture); None: by train tokens.
        window_order: hash of the window shuffle, see `streams.window_order`.
        settings: hash of the settings that made it.
        end_id: that begins every document and so ends the one before; 0 in data of version 2, which do not tell it.
        version: of this layout.
    """

    method: str
    domains: tuple[str, ...]
    seed: int
    tokenizer: dict[str, Any]
    shards: tuple[Shard, ...]
    files: dict[str, str]
    sources: tuple[dict[str, str], ...]
    dropped: dict[str, int]
    purity: float | None
    weights: tuple[float, ...] | None
    window_order: str
    settings: str
    end_id: int = 0
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    skipped_rows: tuple[str, ...] = ()
    near_duplicates: dict[str, int] = dataclasses.field(default_factory=dict)
    near_examples: tuple[tuple[str, str], ...] = ()
    terms: str = ""
    small: dict[str, int] = dataclasses.field(default_factory=dict)
    small_were: str = ""
    version: int = VERSION

    @property
    def k(self) -> int:
        return len(self.domains)

    def counts(self, what: str, split: str) -> tuple[int, ...]:
        """`what` ("tokens" or "documents") of a split, by domain."""
        totals = dict.fromkeys(self.domains, 0)
        for shard in self.shards:
            if shard.split == split:
                totals[shard.domain] += getattr(shard, what)
        return tuple(totals[domain] for domain in self.domains)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Train tokens by domain."""
        return self.counts("tokens", "train")

    @property
    def sizes_by_domain(self) -> dict[str, int]:
        """Train tokens, by name of the domain."""
        return dict(zip(self.domains, self.sizes, strict=True))

    @property
    def hash(self) -> str:
        """What a model sees: equal for equal streams, wherever the sources lay."""
        seen = [self.version, self.domains, self.tokenizer["hash"], self.weights, self.window_order,
                [dataclasses.astuple(shard) for shard in self.shards]]
        return hash_json(seen if self.version == 2 else [*seen, self.end_id])

    def summary(self) -> dict[str, Any]:
        """What `splitjax prepare --json` prints."""
        return {
            "hash": self.hash,
            "domains": {"method": self.method, "k": self.k, "names": list(self.domains),
                        "sizes": list(self.sizes), "purity": self.purity},
            "documents": {split: list(self.counts("documents", split)) for split in SPLITS},
            "tokens": {split: list(self.counts("tokens", split)) for split in SPLITS},
            "dropped": self.dropped,
            "near_duplicates": self.near_duplicates,
            "terms": self.terms,
            "small": self.small,
            "skipped": self.skipped,
            "tokenizer": self.tokenizer,
        }

    def table(self) -> list[str]:
        """Lines: documents and tokens of each domain by split."""
        rows = [["domain", *(f"{split} {what}" for split in SPLITS for what in ("documents", "tokens"))]]
        counts = [self.counts(what, split) for split in SPLITS for what in ("documents", "tokens")]
        rows += [[name, *(f"{count[k]:,}" for count in counts)] for k, name in enumerate(self.domains)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return ["  ".join(cell.rjust(width) if column else cell.ljust(width)
                          for column, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in rows]

    def notes(self) -> list[str]:
        """What a person is told: how much was left out and why, the first rows that could not be read."""
        lines = []
        if dropped := [f"{count:,} {reason.replace('_', ' ')}" for reason, count in self.dropped.items() if count]:
            lines.append(f"documents left out: {', '.join(dropped)}")
        if self.near_duplicates:
            domains = ", ".join(f"{name} {count:,}" for name, count in self.near_duplicates.items())
            lines.append(f"near-duplicates left out, by domain: {domains}; for instance")
            lines += [f"  {_opening(gone)} (kept: {_opening(kept)})" for kept, gone in self.near_examples]
        if self.terms == "characters":
            lines.append("clusters are of characters and pairs of them beside words: part of the text has no spaces")
        if self.small:
            what = "left out" if self.small_were == "drop" else f"merged into '{OTHER}'"
            domains = ", ".join(f"{name} ({tokens:,} tokens)" for name, tokens in self.small.items())
            lines.append(f"domains too small, {what}: {domains}")
        if self.skipped:
            reasons = ", ".join(f"{count:,} × {reason}" for reason, count in self.skipped.items())
            lines.append(f"rows skipped: {reasons}")
            lines += [f"  {row}" for row in self.skipped_rows]
            if more := sum(self.skipped.values()) - len(self.skipped_rows):
                lines.append(f"  and {more:,} more")
        return lines

    def save(self, folder: Path) -> None:
        write_record(folder / FILE, dataclasses.asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read ``folder/manifest.json``.

        Raises:
            UserError: missing, of another version, or changed by hand.
        """
        where = str(folder / FILE)
        told = read_json(folder / FILE)
        version = told.get("version") if isinstance(told, dict) else None
        raw = read_record(folder / FILE, "a manifest", {"version": version if version in _READ else VERSION}, MEND)
        del raw["hash"]
        manifest: Manifest = check_shape(raw, cls, where, MEND)
        try:
            if extra := raw.keys() - {field.name for field in dataclasses.fields(cls)}:
                raise ValueError(f"unknown keys {sorted(extra)!r:.100}")
            manifest.check()
        except ValueError as error:
            raise UserError(f"damaged manifest ({error})", where=where, mend=MEND) from None
        return manifest

    def check(self) -> None:
        """Raise ValueError where what it says cannot be: a file outside its folder, a shard of no domain."""
        for name in (*self.files, *(shard.file for shard in self.shards)):
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"it names a file outside its folder, '{name}'")
        for shard in self.shards:
            if shard.domain not in self.domains or shard.split not in SPLITS:
                raise ValueError(f"'{shard.file}' belongs to no domain or split")
            if shard.tokens < 1:
                raise ValueError(f"'{shard.file}' holds {shard.tokens} tokens")
        if self.end_id < 0:
            raise ValueError(f"no id is {self.end_id}")
        if not isinstance(self.tokenizer.get("hash"), str) or len(self.weights or self.domains) != self.k:
            raise ValueError("its tokenizer or its weights are not such")

    def verify(self, folder: Path) -> None:
        """Hash every file.

        Raises:
            UserError: names the first file that is missing or differs.
        """
        for name, told in self.files.items() | {(shard.file, shard.hash) for shard in self.shards}:
            verify_file(folder / name, told)


def verify_file(path: Path, told: str) -> None:
    """Check a file against the hash its manifest tells.

    Raises:
        UserError: missing or different.
    """
    try:
        found = hash_file(path)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path), mend=MEND) from None
    if found != told:
        raise UserError("differs from its manifest", where=str(path), mend=MEND)


def _opening(text: str, length: int = 50) -> str:
    line = " ".join(text.split())
    return f"“{line[:length]}…”" if len(line) > length else f"“{line}”"
