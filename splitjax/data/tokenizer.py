"""Text ↔ tokens: what every tokenizer of ours offers, and which kind a setting or a folder means."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Tokenizer as Settings
from splitjax.config import UserError, local_copy, write_atomic

END_OF_TEXT = "<|endoftext|>"


class Tokenizer(ABC):
    """A tokenizer in which id 0 is ``<|endoftext|>`` and no text is ever encoded to it.

    A tokenizer from elsewhere that ends documents with another id has that id and 0 changed over.

    Args:
        data: the file that it is.
        end_id: the id that its makers end documents with; 0 where that is ours too.
    """

    FILE: str

    def __init__(self, data: bytes, end_id: int = 0) -> None:
        self._data, self._end_id = data, end_id

    @staticmethod
    def load(folder: Path) -> Tokenizer:
        """Read the tokenizer of a data folder.

        Raises:
            UserError: missing or not a tokenizer.
        """
        from .fast_tokenizer import FastTokenizer
        from .sentencepiece_tokenizer import SentencePieceTokenizer

        kind = SentencePieceTokenizer if (folder / SentencePieceTokenizer.FILE).exists() else FastTokenizer
        return kind.read(folder / kind.FILE)

    @classmethod
    def read(cls, path: Path) -> Tokenizer:
        """Read one file of this kind.

        Raises:
            UserError: missing or not a tokenizer.
        """
        try:
            return cls(path.read_bytes())
        except FileNotFoundError:
            raise UserError("no such file", where=str(path)) from None
        except UserError:
            raise
        except Exception as error:  # both libraries raise bare exceptions for a file they cannot parse
            raise UserError(f"not a tokenizer ({error})", where=str(path)) from error

    def save(self, folder: Path) -> None:
        """Write it under the name that `load` looks for."""
        write_atomic(folder / self.FILE, self._data)

    @property
    def hash(self) -> str:
        """Of the file: equal tokenizers, equal tokens."""
        return hashlib.blake2b(self._data, digest_size=16).hexdigest()

    @property
    def data(self) -> bytes:
        """The file that it is."""
        return self._data

    @property
    def end_id(self) -> int:
        """Where the makers' numbering has what is id 0 here; of a tokenizer read back from a data folder, 0."""
        return self._end_id

    def own_ids(self, ids: NDArray[np.integer], where: str) -> NDArray[np.int64]:
        """Ids of the tokenizer as its makers number them → as they stand here.

        Raises:
            UserError: an id outside the vocabulary, or an end of text amid a document.
        """
        own = np.asarray(ids, np.int64).copy()
        own[ids == self._end_id], own[ids == 0] = 0, self._end_id
        if len(own) and (own.min() < 1 or own.max() >= self.vocab_size):
            bad = int(np.asarray(ids)[(own < 1) | (own >= self.vocab_size)][0])
            raise UserError(f"id {bad} is not one of the tokenizer's {self.vocab_size} for text", where=where,
                            mend="Check data.tokenizer and the source's end_id.")
        return own

    @cached_property
    @abstractmethod
    def vocab_size(self) -> int: ...

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of `text` alone; the caller puts id 0 before a document."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each, on all cores."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str: ...

    @cached_property
    @abstractmethod
    def token_bytes_V(self) -> NDArray[np.int32]:
        """UTF-8 bytes that each token stands for; 0 for ``<|endoftext|>``."""


def given(settings: Settings) -> Tokenizer | None:
    """The tokenizer that needs no training; None where it does.

    Raises:
        UserError: its file is missing or not what it should be.
    """
    from . import fast_tokenizer, sentencepiece_tokenizer

    if settings.type == "bytes":
        return fast_tokenizer.bytes_tokenizer()
    if settings.type == "huggingface":
        return fast_tokenizer.adopt(settings.path or "", settings.end_token)
    if settings.type == "sentencepiece" and settings.path is not None:
        with local_copy(settings.path) as path:
            return sentencepiece_tokenizer.SentencePieceTokenizer.read(path)
    return None


def train(settings: Settings, texts: Iterable[str]) -> Tokenizer:
    """Train on a sample; any text decodes back to itself, and equal samples give equal files."""
    from . import fast_tokenizer, sentencepiece_tokenizer

    if settings.type == "bpe":
        return fast_tokenizer.train_bpe(texts, settings.vocab_size)
    return sentencepiece_tokenizer.train_unigram(texts, settings.vocab_size)


def token_bytes(pieces: Iterable[str]) -> NDArray[np.int32]:
    """Bytes of vocabulary pieces that are not byte-level: ▁ is a space, <0x0A> one byte, ##x goes on a word."""
    sizes = []
    for piece in pieces:
        is_byte = len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
        sizes.append(1 if is_byte else len(piece.removeprefix("##").replace("▁", " ").encode()))
    sizes_V = np.array(sizes, np.int32)
    sizes_V[0] = 0
    return sizes_V
