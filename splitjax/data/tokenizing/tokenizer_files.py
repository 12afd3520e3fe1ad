"""A tokenizer of ours as the files that `transformers.AutoTokenizer` loads."""

from __future__ import annotations

import json
from typing import Any

from splitjax.config import UserError

from .fast_tokenizer import FastTokenizer
from .tokenizer import Tokenizer


def transformers_files(tokenizer: Tokenizer, max_length: int) -> dict[str, str]:
    """File name → text. What AutoTokenizer makes of a text is `end_id`, then the ids that `encode` gives.

    Args:
        max_length: tokens a window of the model.

    Raises:
        UserError: a SentencePiece model. Written as a unigram model of `tokenizers`, the one splitjax trains gives
            other ids for one document in twelve of the shared corpora: the two break ties between equally likely
            cuts differently.
    """
    if not isinstance(tokenizer, FastTokenizer):
        raise UserError(
            "a SentencePiece model has no tokenizer.json that gives the same ids for every text",
            where="data.tokenizer", mend="Prepare runs that are to be exported with data.tokenizer.type=bpe.",
        )
    tree = json.loads(tokenizer.data)
    end = tokenizer.end_token
    tree["post_processor"] = _document_start(end, tokenizer.end_id)
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token"), end)
    told = special | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        # Generation goes on from the last position, which must not be padding.
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        # As in training, a text that spells the end token is the characters it has.
        "split_special_tokens": True,
    }
    return {
        "tokenizer.json": json.dumps(tree, ensure_ascii=False),
        "tokenizer_config.json": json.dumps(told, indent=1, ensure_ascii=False) + "\n",
        "special_tokens_map.json": json.dumps(special, indent=1, ensure_ascii=False) + "\n",
    }


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
