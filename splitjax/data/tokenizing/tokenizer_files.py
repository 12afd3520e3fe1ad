"""A tokenizer of ours as the files that `transformers.AutoTokenizer` loads."""

from __future__ import annotations

import json
from typing import Any

from .sentencepiece_tokenizer import EXPORTED, SentencePieceTokenizer
from .tokenizer import Tokenizer


def transformers_files(tokenizer: Tokenizer, max_length: int) -> dict[str, str | bytes]:
    """File name → content. What AutoTokenizer makes of a text is `end_id`, then the ids that `encode` gives.

    A SentencePiece model is kept as it is, with a class of transformers that runs it: written as a unigram model of
    `tokenizers`, the one splitjax trains gives other ids for one document in twelve of the shared corpora, since the
    two break ties between equally likely cuts differently. That class puts no `end_id` before a text
    (`puts_end_first`), and takes the character ▁ for a space.

    Args:
        max_length: tokens a window of the model.
    """
    end = tokenizer.end_token
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token"), end)
    told: dict[str, Any] = special | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        # Generation goes on from the last position, which must not be padding.
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        # As in training, a text that spells the end token is the characters it has.
        "split_special_tokens": True,
    }
    files: dict[str, str | bytes] = {"special_tokens_map.json": _text(special)}
    if isinstance(tokenizer, SentencePieceTokenizer):
        more = {"tokenizer_class": "BertGenerationTokenizer", "sep_token": end, "unk_token": tokenizer.unknown_token}
        return files | {EXPORTED: tokenizer.data, "tokenizer_config.json": _text(told | more)}
    tree = json.loads(tokenizer.data)
    tree["post_processor"] = _document_start(end, tokenizer.end_id)
    return files | {"tokenizer.json": json.dumps(tree, ensure_ascii=False), "tokenizer_config.json": _text(told)}


def puts_end_first(tokenizer: Tokenizer) -> bool:
    """Whether what `transformers_files` makes of it puts `end_id` before a text, as documents have it."""
    return not isinstance(tokenizer, SentencePieceTokenizer)


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _document_start(end: str, end_id: int) -> dict[str, Any]:
    """Put the end token before a text: a document of ours begins with it."""
    start, first = {"SpecialToken": {"id": end, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [start, first],
        "pair": [start, first, {"SpecialToken": {"id": end, "type_id": 1}}, second],
        "special_tokens": {end: {"id": end, "ids": [end_id], "tokens": [end]}},
    }
