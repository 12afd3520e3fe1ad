"""Tokenizers that are a SentencePiece model: seqio's, brought along, or trained without normalisation."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError

from .tokenizer import END_OF_TEXT, Tokenizer, token_bytes

_SPACE = "▁"


class SentencePieceTokenizer(Tokenizer):
    """The `sentencepiece` library (no TensorFlow).

    Id 0 stays as it is where text never comes to it (a pad or control piece, or an unknown behind byte fallback), so
    that ids are those of the model; else it and the model's end of sequence change places.
    """

    FILE = "tokenizer.model"

    def __init__(self, data: bytes) -> None:
        from sentencepiece import SentencePieceProcessor

        self._model: Any = SentencePieceProcessor(model_proto=data)
        super().__init__(data, self._end())
        self._places_V = np.arange(self.vocab_size)
        self._places_V[[0, self._end_id]] = self._end_id, 0
        # The library spells a space "▁": that character itself, where bytes can, goes round it as bytes.
        self._bytes = [self._model.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE.encode()]
        if not all(self._model.is_byte(index) for index in self._bytes):
            self._bytes = []

    def _end(self) -> int:
        bytes_know_all = any(self._model.is_byte(index) for index in range(self._model.vocab_size()))
        if self._model.is_control(0) or self._model.is_unused(0) or (self._model.is_unknown(0) and bytes_know_all):
            return 0
        if self._model.eos_id() <= 0:
            raise UserError("a SentencePiece model without a pad or an end of sequence to end documents with")
        return int(self._model.eos_id())

    @cached_property
    def vocab_size(self) -> int:
        return int(self._model.vocab_size())

    def encode(self, text: str) -> list[int]:
        if not self._bytes or _SPACE not in text:
            return self._places_V[self._model.encode(text)].tolist() if text else []
        ids: list[int] = []
        for index, part in enumerate(text.split(_SPACE)):
            ids += (self._bytes if index else []) + self._model.encode(part)
        return self._places_V[ids].tolist()

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        if any(_SPACE in text for text in texts):
            return [self.encode(text) for text in texts]
        return [self._places_V[ids].tolist() if ids else [] for ids in self._model.encode(list(texts))]

    def decode(self, ids: Iterable[int]) -> str:
        return self._model.decode(self._places_V[list(ids)].tolist()) if (ids := list(ids)) else ""

    @cached_property
    def token_bytes_V(self) -> NDArray[np.int32]:
        return token_bytes(self._model.id_to_piece(int(index)) for index in self._places_V)


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
