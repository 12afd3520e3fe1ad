"""Text ↔ tokens: what every tokenizer of ours offers."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError, write_atomic

END_OF_TEXT = "<|endoftext|>"


class Tokenizer(ABC):
    """A tokenizer, ids as its file numbers them, and the one id that stands between documents.

    That id, `end_id`, begins every document and so ends the one before; no text is ever encoded to it. It is 0 where
    the tokenizer was trained here.

    Args:
        data: the file that it is.
        end_id: that ends a document.
    """

    FILE: str

    def __init__(self, data: bytes, end_id: int) -> None:
        self._data, self._end_id = data, end_id

    @staticmethod
    def load(folder: Path, end_id: int = 0) -> Tokenizer:
        """Read the tokenizer of a data folder, whose manifest tells the id that ends a document.

        Raises:
            UserError: missing or not a tokenizer.
        """
        found = [kind for kind in Tokenizer.__subclasses__() if (folder / kind.FILE).exists()]
        if not found:
            names = " or ".join(kind.FILE for kind in Tokenizer.__subclasses__())
            raise UserError("no such file", where=str(folder / names))
        return found[0].read(folder / found[0].FILE, end_id)

    @classmethod
    def read(cls, path: Path, end_id: int | None = None) -> Tokenizer:
        """Read one file of this kind.

        Args:
            end_id: that ends a document; None: what the file itself says (SentencePiece).

        Raises:
            UserError: missing or not a tokenizer.
        """
        try:
            return cls(path.read_bytes(), end_id)  # type: ignore[arg-type]
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
        """The id that begins every document and so ends the one before."""
        return self._end_id

    def text_ids(self, ids: NDArray[np.integer], where: str) -> NDArray[np.int64]:
        """Ids that somebody else made of one document's text, checked.

        Raises:
            UserError: an id outside the vocabulary, or an end of text amid a document.
        """
        found = np.asarray(ids, np.int64)
        bad = (found < 0) | (found >= self.vocab_size) | (found == self.end_id)
        if bad.any():
            raise UserError(f"id {found[bad][0]} is not one of the tokenizer's {self.vocab_size} for text",
                            where=where, mend="Check data.tokenizer and the source's end_id.")
        return found

    @cached_property
    @abstractmethod
    def vocab_size(self) -> int:
        """The highest id + 1: ids may have holes."""

    @property
    @abstractmethod
    def end_token(self) -> str:
        """What the file calls the id that ends a document."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of `text` alone; the caller puts `end_id` before a document."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each, on all cores."""

    def encode_long(self, chunks: Iterable[str]) -> Iterator[NDArray[np.int32]]:
        """`encode` of the one long text that `chunks` make, piece after piece where it can be cut."""
        yield np.array(self.encode("".join(chunks)), np.int32)

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str: ...

    @cached_property
    @abstractmethod
    def token_bytes_V(self) -> NDArray[np.int32]:
        """UTF-8 bytes that each token stands for; 0 for the end of a document, an unknown, and an id in a hole."""

    @cached_property
    @abstractmethod
    def begins_with_space_V(self) -> NDArray[np.bool_]:
        """Whether the text of each token begins with a space."""

    @cached_property
    def puts_space(self) -> bool:
        """Whether it puts a space of its own before a text: one byte of a document's first token is not the text's."""
        return any(self.token_bytes_V[self.encode(letter)].sum() == 2 for letter in "ae0.")

    def target_bytes(self, tokens_T: NDArray[np.integer]) -> NDArray[np.int32]:
        """UTF-8 bytes of text that each target of windows stands for: (…, T) ids → (…, S).

        A space that the tokenizer itself puts before a text is not counted. Where it puts one only before a text that
        has none, a text's own first space is not counted either: its ids do not tell which it was.
        """
        targets_S = tokens_T[..., 1:]
        bytes_S = self.token_bytes_V[targets_S]
        if self.puts_space:
            first_S = tokens_T[..., :-1] == self.end_id
            bytes_S = bytes_S - (first_S & self.begins_with_space_V[targets_S])
        return bytes_S
