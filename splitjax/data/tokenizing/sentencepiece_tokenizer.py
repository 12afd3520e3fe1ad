"""Tokenizers that are a SentencePiece model: seqio's, brought along, or trained without normalisation."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError

from .tokenizer import END_OF_TEXT, Tokenizer

_SPACE = "▁"
EXPORTED = "spiece.model"
"""The name under which transformers looks for it."""


class SentencePieceTokenizer(Tokenizer):
    """The `sentencepiece` library (no TensorFlow).

    Documents end with id 0 where that is a pad or another piece that stands for nothing (T5's models, and those
    trained here), else with the model's end of sequence.
    """

    FILE = "tokenizer.model"

    def __init__(self, data: bytes, end_id: int | None = None) -> None:
        from sentencepiece import SentencePieceProcessor

        self._model: Any = SentencePieceProcessor(model_proto=data)
        super().__init__(data, self._own_end() if end_id is None else end_id)
        # The library spells a space "▁": that character itself, where bytes can, goes round it as bytes.
        self._bytes = [self._model.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE.encode()]
        if not all(self._model.is_byte(index) for index in self._bytes):
            self._bytes = []
        if not self._stands_for_nothing(self.end_id) and not (self._bytes and self._model.is_unknown(self.end_id)):
            raise UserError(f"id {self.end_id} cannot end documents: text is encoded to it", where=self.FILE,
                            mend="Data prepared before version 3 of the manifest may be; prepare them anew.")

    def _own_end(self) -> int:
        if self._stands_for_nothing(0):
            return 0
        if self._model.eos_id() <= 0:
            raise UserError("a SentencePiece model without a pad or an end of sequence to end documents with")
        return int(self._model.eos_id())

    def _stands_for_nothing(self, index: int) -> bool:
        """Whether no text is encoded to the id."""
        return bool(self._model.is_control(index) or self._model.is_unused(index))

    @cached_property
    def vocab_size(self) -> int:
        return int(self._model.vocab_size())

    @property
    def end_token(self) -> str:
        return str(self._model.id_to_piece(self.end_id))

    @property
    def unknown_token(self) -> str:
        """What the model calls a letter that it does not know."""
        return str(self._model.id_to_piece(self._model.unk_id()))

    def encode(self, text: str) -> list[int]:
        if not self._bytes or _SPACE not in text:
            return list(self._model.encode(text)) if text else []
        ids: list[int] = []
        for index, part in enumerate(text.split(_SPACE)):
            ids += (self._bytes if index else []) + self._model.encode(part)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        if any(_SPACE in text for text in texts):
            return [self.encode(text) for text in texts]
        found: list[list[int]] = self._model.encode(list(texts))
        return found

    def decode(self, ids: Iterable[int]) -> str:
        return str(self._model.decode([int(index) for index in ids]))

    @cached_property
    def token_bytes_V(self) -> NDArray[np.int32]:
        model = self._model

        def size(index: int) -> int:
            if model.is_unknown(index) or self._stands_for_nothing(index):
                return 0
            return 1 if model.is_byte(index) else len(self._text(index).encode())

        return np.array([size(index) for index in range(self.vocab_size)], np.int32)

    @cached_property
    def begins_with_space_V(self) -> NDArray[np.bool_]:
        return np.array([self._text(index).startswith(" ") for index in range(self.vocab_size)])

    def _text(self, index: int) -> str:
        return str(self._model.id_to_piece(index)).replace(_SPACE, " ")


def read_exported(folder: Path, end_token: str | None) -> SentencePieceTokenizer:
    """The model in an exported folder; `end_token` ends its documents, None: what the model itself says.

    Raises:
        UserError: missing, no such model, or no such token.
    """
    path = folder / EXPORTED
    found = SentencePieceTokenizer.read(path)
    assert isinstance(found, SentencePieceTokenizer)
    if end_token is None or end_token == found.end_token:
        return found
    index = found._model.piece_to_id(end_token)
    if found._model.id_to_piece(index) != end_token:
        raise UserError(f"has no token '{end_token}' to end documents", where=str(path))
    return SentencePieceTokenizer(found.data, index)


def train_unigram(texts: Iterable[str], vocab_size: int) -> SentencePieceTokenizer:
    """A unigram model that keeps every character: no normalisation, no white space removed, bytes for the rest.

    Args:
        vocab_size: size wished for; a sample too small for it gives fewer.
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="unigram",
        vocab_size=max(vocab_size, 300), hard_vocab_limit=False,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
        allow_whitespace_only_pieces=True, byte_fallback=True, max_sentence_length=1 << 24,
        pad_id=0, pad_piece=END_OF_TEXT, unk_id=1, bos_id=-1, eos_id=-1,
        num_threads=1, shuffle_input_sentence=False,  # the same model from the same sample
        minloglevel=2,
    )
    return SentencePieceTokenizer(model.getvalue())
