"""Tokenizers that are a Hugging Face `tokenizer.json`: trained here, brought along, or plain bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError, did_you_mean, read_json

from .tokenizer import END_OF_TEXT, Tokenizer, token_bytes

_END_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|eos|>", "[SEP]")


class FastTokenizer(Tokenizer):
    """The `tokenizers` library. A document that spells a special token is encoded as the characters it has."""

    FILE = "tokenizer.json"

    def __init__(self, data: bytes, end_id: int = 0) -> None:
        from tokenizers import Tokenizer as Fast

        super().__init__(data, end_id)
        self._fast: Any = Fast.from_str(data.decode())
        self._fast.encode_special_tokens = True
        # A unigram model holds its end token as a piece like any other, which a text may spell.
        self._spelled = self._fast.id_to_token(0) if b'"Unigram"' in data else None

    @cached_property
    def vocab_size(self) -> int:
        return int(self._fast.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        if self._spelled is None or not any(self._spelled in text for text in texts):
            return [one.ids for one in self._fast.encode_batch_fast(texts, add_special_tokens=False)]
        return [self._encode_apart(text, self._spelled) for text in texts]

    def _encode_apart(self, text: str, end: str) -> list[int]:
        """Ids of the text cut amid each spelling of `end`."""
        first, *others = text.split(end)
        parts = [first, *(part for other in others for part in (end[:1], end[1:] + other))]
        found = self._fast.encode_batch_fast([part for part in parts if part], add_special_tokens=False)
        return [index for one in found for index in one.ids]

    def decode(self, ids: Iterable[int]) -> str:
        return self._fast.decode(list(ids), skip_special_tokens=False)

    @cached_property
    def token_bytes_V(self) -> NDArray[np.int32]:
        pieces_V = [""] * self.vocab_size
        for piece, index in self._fast.get_vocab().items():
            pieces_V[index] = piece
        if b'"ByteLevel"' not in self._data:
            return token_bytes(pieces_V)
        # In the byte-level alphabet one character stands for one byte.
        return np.array([0, *(len(piece) for piece in pieces_V[1:])], np.int32)


def train_bpe(texts: Iterable[str], vocab_size: int) -> FastTokenizer:
    """Byte-level BPE.

    Args:
        texts: the sample; its order does not matter to the result.
        vocab_size: size wished for, special token included; a sample too small for it gives fewer.
    """
    from tokenizers import trainers
    from tokenizers.pre_tokenizers import ByteLevel

    fast = _byte_level()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(texts, trainer)
    return FastTokenizer(fast.to_str().encode())


def bytes_tokenizer() -> FastTokenizer:
    """One token a byte: byte-level BPE without a merge."""
    return train_bpe([], 257)


def adopt(path: str | Path, end_token: str | None) -> FastTokenizer:
    """A tokenizer.json from elsewhere, rewritten so that the token which ends documents has id 0.

    Merges and scores name their pieces, so ids may change places; nothing else of the file does, but that it no
    longer adds tokens of its own to a text.

    Raises:
        UserError: not a tokenizer, or no token ends its documents.
    """
    tree = read_json(path)
    try:
        added = {token["content"]: token for token in tree["added_tokens"]}
        name = end_token if end_token is not None else next((name for name in _END_NAMES if name in added), None)
        if name not in added:
            raise UserError(f"has no special token '{name or END_OF_TEXT}' to end documents", where=str(path),
                            mend=f"Set data.tokenizer.end_token. {did_you_mean(name or END_OF_TEXT, added)}")
        end_id = int(added[name]["id"])
        _exchange(tree, end_id)
        tree.update(post_processor=None, truncation=None, padding=None)
        return FastTokenizer(json.dumps(tree, ensure_ascii=False).encode(), end_id)
    except UserError:
        raise
    except Exception as error:  # the library raises bare Exception for what it cannot parse
        raise UserError(f"not a tokenizer ({error!r})", where=str(path)) from None


def _exchange(tree: dict[str, Any], end_id: int) -> None:
    """Let ids 0 and `end_id` change places wherever the file tells an id."""
    place = {0: end_id, end_id: 0}
    for token in tree["added_tokens"]:
        token["id"] = place.get(token["id"], token["id"])
    tree["added_tokens"].sort(key=lambda token: token["id"])
    model = tree["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {piece: place.get(index, index) for piece, index in model["vocab"].items()}
    elif end_id < len(model["vocab"]):
        model["vocab"][0], model["vocab"][end_id] = model["vocab"][end_id], model["vocab"][0]
        if model.get("unk_id") is not None:
            model["unk_id"] = place.get(model["unk_id"], model["unk_id"])
    else:
        raise ValueError("a list of pieces whose end token stands outside it")


def _byte_level() -> Any:
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers

    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    return fast
