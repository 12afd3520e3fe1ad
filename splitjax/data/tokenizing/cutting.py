"""Where a long text may be cut so that its ids stay the same: the library takes 120 times the memory of what it reads.

A cut is made where two things hold. No piece of the vocabulary goes across the place, so no merge can; of a model that
does not merge, the pre-tokenizer parts words there. And what stands around the place has the same ids cut and uncut,
which tells of normalisers and of what looks ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any

_PIECE, _AROUND, _TRIES = 1 << 17, 1 << 10, 50
"""Characters of a piece, how many around a cut are looked at, and how many places are tried."""
_APART = "\uffff"
"""Stands between pieces in a list of them all: no text holds it."""


class Cutter:
    """Cuts texts for one tokenizer of the `tokenizers` library.

    Args:
        fast: the library's tokenizer, `tree` its file.
        encode: text → ids, as a whole text is encoded.
        puts_space: whether it puts a space before a text: cuts are then made before a space, which is left out.
    """

    def __init__(self, fast: Any, tree: dict[str, Any], encode: Callable[[str], list[int]], puts_space: bool) -> None:
        self._fast, self._tree, self._encode, self._puts_space = fast, tree, encode, puts_space
        self._crossed = lru_cache(1 << 12)(self._goes_across)

    def pieces(self, chunks: Iterable[str]) -> Iterator[str]:
        """The text that `chunks` make, in pieces whose ids one after another are its own; one where no cut is sure."""
        held, stop = "", _PIECE
        for chunk in chunks:
            held += chunk
            while stop < len(held) - _AROUND:
                if (at := self._cut(held, stop)) is None:
                    stop += _PIECE
                    continue
                yield held[:at]
                held, stop = held[at + self._puts_space :], _PIECE  # the space is put again before what follows
        yield held

    def _cut(self, text: str, stop: int) -> int | None:
        """The last sure place up to `stop`, of those that are tried."""
        tried = range(stop, max(_AROUND, stop - _AROUND), -1)
        places = [at for at in tried if self._may_part(text[at - 1 : at + 2])][:_TRIES]
        return next((at for at in places if self._parts_at(text, at)), None)

    def _may_part(self, letters: str) -> bool:
        """Whether it is worth a try before the second of three letters."""
        if self._puts_space or not self._merges:
            return letters[1] == " " and letters[0].isalnum() and not letters[2].isspace()
        return letters[0].isalnum() and not letters[1].isalnum()

    def _parts_at(self, text: str, at: int) -> bool:
        before, after = text[at - _AROUND : at], text[at : at + _AROUND]
        if self._merges and self._crossed(text[at - 1], text[at]):
            return False
        if not self._merges and not self._words_part(before, after):
            return False
        return self._encode(before + after) == self._encode(before) + self._encode(after[self._puts_space :])

    def _words_part(self, before: str, after: str) -> bool:
        """Whether the pre-tokenizer ends a word between the two."""
        if self._fast.pre_tokenizer is None:
            return False
        found = self._fast.pre_tokenizer.pre_tokenize_str(before + after)
        return len(before) in {end for _, (_, end) in found}

    @cached_property
    def _merges(self) -> bool:
        return bool(self._tree["model"].get("type") == "BPE")

    @cached_property
    def _listed(self) -> str:
        """All pieces of the vocabulary, and all tokens that are added to it."""
        return _APART.join(["", *self._fast.get_vocab(with_added_tokens=True), ""])

    def _goes_across(self, left: str, right: str) -> bool:
        """Whether a piece holds the end of one letter and the beginning of the next."""
        normal = self._fast.normalizer.normalize_str(left)[-1:] if self._fast.normalizer else left
        pairs = {(one, other) for one in (left, normal) for other in (right, "▁" if right == " " else right)}
        pairs |= {(self._as_bytes(one), self._as_bytes(other)) for one, other in pairs}
        return any(self._holds(one, other) for one, other in pairs)

    def _holds(self, left: str, right: str) -> bool:
        """Of letters that are several bytes a piece may hold a part: it then begins or ends with it."""
        return any(
            (_APART * (begin > 0) + left[begin:] + right[:end] + _APART * (end < len(right))) in self._listed
            for begin in range(len(left)) for end in range(1, len(right) + 1)
        )

    def _as_bytes(self, letter: str) -> str:
        """A letter as byte-level vocabularies write it."""
        return "".join(_alphabet()[byte] for byte in letter.encode())


@lru_cache(1)
def _alphabet() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it can be seen, else one beyond."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) if byte in seen else chr(256 + hidden.index(byte)) for byte in range(256)]
