"""Tokenizers that are a Hugging Face `tokenizer.json`: trained here, brought along, or plain bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError, did_you_mean, read_json

from .cutting import Cutter
from .tokenizer import END_OF_TEXT, Tokenizer

_END_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|eos|>", "[SEP]")
_MOST_IDS = 1 << 31
"""Ids are int32 wherever they are used."""
_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


class FastTokenizer(Tokenizer):
    """The `tokenizers` library. A document that spells a special token is encoded as the characters it has."""

    FILE = "tokenizer.json"

    def __init__(self, data: bytes, end_id: int | None = 0) -> None:
        from tokenizers import Tokenizer as Fast

        super().__init__(data, end_id or 0)
        self._fast: Any = Fast.from_str(data.decode())
        self._fast.encode_special_tokens = True
        self._end: str | None = self._fast.id_to_token(self.end_id)

    @cached_property
    def vocab_size(self) -> int:
        return max(self._fast.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def end_token(self) -> str:
        return self._end or ""

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        found = [one.ids for one in self._fast.encode_batch_fast(texts, add_special_tokens=False)]
        if self._end:
            # Some models hold their end token as a piece like any other, which a text may spell.
            for index, text in enumerate(texts):
                if self._end in text and self.end_id in found[index]:
                    found[index] = self._encode_apart(text, self._end)
        return found

    def encode_long(self, chunks: Iterable[str]) -> Iterator[NDArray[np.int32]]:
        for piece in self._cutter.pieces(chunks):
            yield np.array(self.encode(piece), np.int32)

    @cached_property
    def _cutter(self) -> Cutter:
        return Cutter(self._fast, self._tree, self.encode, self.puts_space)

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
        bytes_V = np.zeros(self.vocab_size, np.int32)
        for index, text in self._texts():
            bytes_V[index] = len(text)
        unknown = self._tree["model"].get("unk_token")
        unknown_id = self._fast.token_to_id(unknown) if unknown else self._tree["model"].get("unk_id")
        bytes_V[[self.end_id, *([] if unknown_id is None else [unknown_id])]] = 0
        return bytes_V

    @cached_property
    def begins_with_space_V(self) -> NDArray[np.bool_]:
        space_V = np.zeros(self.vocab_size, bool)
        space_V[[index for index, text in self._texts() if text[:1] == b" "]] = True
        return space_V

    @cached_property
    def _tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(self._data)
        return tree

    def _texts(self) -> Iterator[tuple[int, bytes]]:
        """Each id and what it stands for: an added token for its own characters, a piece for what it decodes to."""
        added = {token["id"]: token["content"] for token in self._tree["added_tokens"]}
        kinds = {*_kinds(self._tree.get("decoder")), *_kinds(self._tree.get("pre_tokenizer"))}
        more = self._tree["model"].get("continuing_subword_prefix") or ""
        for piece, index in self._fast.get_vocab(with_added_tokens=True).items():
            if index in added:
                yield index, added[index].encode()
            elif "ByteLevel" in kinds:  # one character stands for one byte, Ġ for a space
                yield index, piece.replace("Ġ", " ").encode("ascii", "replace")
            elif "ByteFallback" in kinds and _BYTE.fullmatch(piece):
                yield index, bytes([int(piece[3:5], 16)])
            else:  # ▁ is a space, ##x goes on a word
                yield index, piece.removeprefix(more).replace("▁", " ").encode()


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
    """A tokenizer.json from elsewhere, with the ids that it tells.

    Nothing of the file changes but that it no longer adds tokens of its own to a text, nor cuts or fills one up.

    Raises:
        UserError: not a tokenizer, no token ends its documents, or an id that is no int32.
    """
    tree = read_json(path)
    try:
        added = {token["content"]: int(token["id"]) for token in tree["added_tokens"]}
        name = end_token if end_token is not None else next((name for name in _END_NAMES if name in added), None)
        if name not in added:
            raise UserError(f"has no special token '{name or END_OF_TEXT}' to end documents", where=str(path),
                            mend=f"Set data.tokenizer.end_token. {did_you_mean(name or END_OF_TEXT, added)}")
        tree.update(post_processor=None, truncation=None, padding=None)
        found = _with_its_ids(tree, added, added[name], str(path))
        if found.vocab_size > _MOST_IDS:
            raise UserError(f"holds id {found.vocab_size - 1}, more than an int32 can", where=str(path))
        return found
    except UserError:
        raise
    except Exception as error:  # the library raises bare Exception for what it cannot parse
        raise UserError(f"not a tokenizer ({error!r})", where=str(path)) from None


def _with_its_ids(tree: dict[str, Any], added: dict[str, int], end_id: int, where: str) -> FastTokenizer:
    """The tokenizer, each added token under the id that the file tells.

    The library counts on from its model's vocabulary instead, unless the token stands there too.

    Raises:
        UserError: two tokens of one id, or a list of pieces (Unigram), where none can be set apart.
    """
    found = FastTokenizer(json.dumps(tree, ensure_ascii=False).encode(), end_id)
    vocab = found._fast.get_vocab(with_added_tokens=True)
    if all(vocab.get(content) == index for content, index in added.items()):
        return found
    pieces = tree["model"]["vocab"]
    if isinstance(pieces, dict):
        taken = {index: piece for piece, index in pieces.items()}
        if all(taken.get(index, content) == content for content, index in added.items()):
            pieces.update(added)
            return FastTokenizer(json.dumps(tree, ensure_ascii=False).encode(), end_id)
    first = next(content for content, index in added.items() if vocab.get(content) != index)
    raise UserError(f"gives '{first}' id {added[first]}, the tokenizers library reads {vocab.get(first)}", where=where,
                    mend="Number the added tokens on from the end of the vocabulary.")


def _kinds(part: Any) -> Iterator[str]:
    """Types of a decoder or pre-tokenizer and of what it is made of."""
    if isinstance(part, dict):
        yield str(part.get("type"))
        for inner in (*part.get("decoders", ()), *part.get("pretokenizers", ())):
            yield from _kinds(inner)


def _byte_level() -> Any:
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers

    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    return fast
