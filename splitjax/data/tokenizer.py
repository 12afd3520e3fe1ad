"""Text ↔ tokens: one `tokenizer.json` from preparation to export."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError, write_atomic

END_OF_TEXT = "<|endoftext|>"
FILE = "tokenizer.json"


class Tokenizer:
    """A Hugging Face `tokenizers` file in which id 0 is ``<|endoftext|>``.

    The special token is never read from text: a document that spells it is encoded as the characters it has.
    """

    def __init__(self, json_text: str) -> None:
        from tokenizers import Tokenizer as Fast

        self._json = json_text
        self._fast: Any = Fast.from_str(json_text)
        self._fast.encode_special_tokens = True
        self._fast.no_truncation()
        self._fast.no_padding()

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read ``folder/tokenizer.json``.

        Raises:
            UserError: missing or not a tokenizer.
        """
        path = folder / FILE
        try:
            return cls(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError("no such file", where=str(path), mend="Run prepare again.") from None
        except Exception as error:  # the library raises bare Exception for a file it cannot parse
            raise UserError(f"not a tokenizer ({error})", where=str(path)) from error

    def save(self, folder: Path) -> None:
        write_atomic(folder / FILE, self._json)

    @property
    def hash(self) -> str:
        return hashlib.blake2b(self._json.encode(), digest_size=16).hexdigest()

    @property
    def vocab_size(self) -> int:
        return int(self._fast.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of `text` alone; the caller puts id 0 before a document."""
        return self._fast.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in self._fast.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        return self._fast.decode(list(ids), skip_special_tokens=False)

    @cached_property
    def token_bytes_V(self) -> NDArray[np.int32]:
        """UTF-8 bytes that each token stands for; 0 for ``<|endoftext|>``."""
        # In the byte-level alphabet one character stands for one byte.
        sizes_V = np.zeros(self.vocab_size, np.int32)
        for token, index in self._fast.get_vocab().items():
            sizes_V[index] = len(token)
        sizes_V[0] = 0
        return sizes_V


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE: any text decodes back to itself, and equal texts give equal files.

    Args:
        texts: the sample; its order does not matter to the result.
        vocab_size: size wished for, special token included; fewer come back from a sample too small for it.
    """
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers, trainers

    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(texts, trainer)
    return Tokenizer(fast.to_str())
