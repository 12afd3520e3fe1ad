"""Prepared data, opened for training and evaluation."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError, did_you_mean, read_json

from .documents import SPLITS
from .manifest import FILE, MEND, QUESTIONS, REPORT, Manifest
from .mixing import Mixing, Schedule, Weights, mixing
from .shards import TokenRun, token_dtype
from .streams import Stream, Windows, domain_stream, mixture_stream, window_order
from .tokenizing.tokenizer import Tokenizer


class Corpus:
    """A folder that `prepare` wrote. Nothing of it is read before it is asked for."""

    def __init__(self, folder: Path, manifest: Manifest, tokenizer: Tokenizer) -> None:
        self.folder, self.manifest, self.tokenizer = folder, manifest, tokenizer
        self._run = functools.lru_cache(maxsize=None)(self._open_run)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], verify: bool = True) -> Corpus:
        """Open prepared data.

        Args:
            verify: hash every file first (about 1 GB/s). Without, a damaged record is still refused when it is read.

        Raises:
            UserError: a file is missing, damaged or of another version, the tokenizer is not the one of the manifest,
                or the installed Grain orders windows differently; names the file.
        """
        folder = Path(folder)
        manifest = Manifest.load(folder)
        if verify:
            manifest.verify(folder)
        tokenizer = Tokenizer.load(folder, manifest.end_id)
        if tokenizer.hash != manifest.tokenizer["hash"]:
            raise UserError("is not the tokenizer that made the tokens", where=str(folder / "tokenizer.json"),
                            mend=MEND)
        if manifest.window_order != window_order():
            raise UserError("was prepared under a Grain that orders windows differently", where=str(folder / FILE),
                            mend="Install that version of Grain or run prepare again.")
        return cls(folder, manifest, tokenizer)

    @property
    def domains(self) -> tuple[str, ...]:
        """Names; the index is the expert's."""
        return self.manifest.domains

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    @property
    def end_id(self) -> int:
        """The id that begins every document and so ends the one before."""
        return self.manifest.end_id

    @property
    def token_bytes_V(self) -> NDArray[np.int32]:
        """UTF-8 bytes of each token; 0 for the one that ends a document. Of windows: `tokenizer.target_bytes`."""
        return self.tokenizer.token_bytes_V

    def tokens(self, split: str, domain: str | int) -> int:
        """Tokens of a domain in a split."""
        return self.manifest.counts("tokens", split)[self._index(domain)]

    def unigram_entropy(self, split: str, domain: str | int | None = None) -> float:
        """Nats a token of the split's own unigram distribution; over all domains together unless one is named."""
        chosen = range(len(self.domains)) if domain is None else [self._index(domain)]
        counts_V = np.zeros(self.vocab_size, np.int64)
        for index in chosen:
            run = self._run(split, index)
            for start in range(0, len(run), 1 << 22):
                tokens = run.read(start, min(start + (1 << 22), len(run)))
                counts_V += np.bincount(tokens, minlength=self.vocab_size)
        share = counts_V[counts_V > 0] / counts_V.sum()
        return float(-(share * np.log(share)).sum())

    def held_out(self, split: str, domain: str | int, windows: int, seq_len: int) -> NDArray[np.int32]:
        """tokens_WT: fixed windows, evenly spaced over the split, the same for every model and seed.

        Raises:
            UserError: the split has fewer windows than asked for.
        """
        name = self.domains[self._index(domain)]
        found = self._windows(split, domain, seq_len)
        if len(found) < windows:
            where = f"{split} of '{name}'"
            raise UserError(f"has {len(found)} windows of {seq_len} tokens, not {windows}", where=where,
                            mend=f"Lower evaluate.windows or raise data.{split}.")
        return np.stack([found[index * len(found) // windows] for index in range(windows)])

    def domain(self, domain: str | int, batch_size: int, seq_len: int, seed: int, start: int = 0) -> Stream:
        """Train batches of one domain.

        Args:
            start: windows of it already consumed, for instance `mixture_counts` of the trunk.
        """
        windows = self._windows("train", domain, seq_len)
        return domain_stream(windows, batch_size, seed, self.domains[self._index(domain)], start)

    def mixture(
        self, batch_size: int, seq_len: int, seed: int, weights: Weights | Schedule | None = None
    ) -> Stream:
        """Train batches of all domains.

        Args:
            weights: by domain, or steps (first token of the path, weights by domain); None: as the source declares,
                else by train tokens.
        """
        windows_K = [self._windows("train", index, seq_len) for index in range(len(self.domains))]
        mixed = self._mixing(seq_len, weights)
        return mixture_stream(windows_K, batch_size, seed, self.domains, mixed)

    def mixture_counts(
        self, n_items: int, seq_len: int, seed: int, weights: Weights | Schedule | None = None
    ) -> NDArray[np.int64]:
        """counts_K: windows of each domain among the first `n_items` of the mixture; the seed does not move them."""
        return self._mixing(seq_len, weights).counts(n_items)

    def about_domains(self) -> list[dict[str, Any]]:
        """What each cluster is about: name, top terms, nearest documents, share of each label; [] for labels."""
        path = self.folder / REPORT
        return read_json(path) if path.exists() else []

    @property
    def questions(self) -> Path | None:
        """JSON lines of what the sources know to ask (domain, context, continuation); None where they know nothing."""
        return self.folder / QUESTIONS if QUESTIONS in self.manifest.files else None

    def show(self, domain: str | int, n: int, split: str = "train") -> list[str]:
        """The first `n` documents of a domain as a model sees them, decoded."""
        run = self._run(split, self._index(domain))
        texts: list[str] = []
        position = 0
        while position < len(run) and len(texts) < n:
            document = _document(run, position, self.end_id)
            texts.append(self.tokenizer.decode(document[1:].tolist()))
            position += len(document)
        return texts

    def _mixing(self, seq_len: int, weights: Weights | Schedule | None) -> Mixing:
        return mixing(self.manifest.sizes, seq_len, self.manifest.weights if weights is None else weights)

    def _windows(self, split: str, domain: str | int, seq_len: int) -> Windows:
        index = self._index(domain)
        return Windows(self._run(split, index), seq_len, f"{split} of '{self.domains[index]}'")

    def _open_run(self, split: str, index: int) -> TokenRun:
        if split not in SPLITS:
            raise UserError(f"no split '{split}'", mend=did_you_mean(split, SPLITS))
        shards = [s for s in self.manifest.shards if (s.split, s.domain) == (split, self.domains[index])]
        paths = [self.folder / shard.file for shard in shards]
        return TokenRun(paths, [shard.tokens for shard in shards], token_dtype(self.vocab_size))

    def _index(self, domain: str | int) -> int:
        if isinstance(domain, str):
            if domain not in self.domains:
                raise UserError(f"no domain '{domain}'", mend=did_you_mean(domain, self.domains))
            return self.domains.index(domain)
        return range(len(self.domains))[domain]


def _document(run: TokenRun, start: int, end_id: int) -> NDArray[np.int32]:
    """The document that begins at `start`, its leading `end_id` included."""
    size = 1 << 12
    while True:
        tokens = run.read(start, min(start + size, len(run)))
        ends = np.flatnonzero(tokens[1:] == end_id)
        if len(ends) or start + len(tokens) == len(run):
            return tokens[: ends[0] + 1] if len(ends) else tokens
        size *= 4
