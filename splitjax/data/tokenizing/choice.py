"""Which tokenizer a setting means."""

from __future__ import annotations

from collections.abc import Iterable

from splitjax.config import Tokenizer as Settings
from splitjax.config import local_copy

from . import fast_tokenizer, sentencepiece_tokenizer
from .tokenizer import Tokenizer


def given(settings: Settings) -> Tokenizer | None:
    """The tokenizer that needs no training; None where it does.

    Raises:
        UserError: its file is missing or not what it should be.
    """
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
    if settings.type == "bpe":
        return fast_tokenizer.train_bpe(texts, settings.vocab_size)
    return sentencepiece_tokenizer.train_unigram(texts, settings.vocab_size)
