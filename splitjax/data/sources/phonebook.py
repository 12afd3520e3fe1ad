"""The synthetic memorisation corpus: K disjoint books of names and numbers, and what may be asked of them.

What books share can be learned from any of them: the form of an entry, the first names, the stems of surnames, how a
number is looked up. What is a book's own has to be stored: log2(10) bits a digit. A book holds half of the names that
its lists make, so that a name costs about one bit and the numbers are nearly all there is to store.

Every entry is a document in each of several editions. The hash that splits documents keeps some editions of an entry
for validation and test, so the held-out loss is that of facts which training has told in other editions. There is
nothing else to measure: an entry that was never seen cannot be predicted, its digits are random. Several editions also
see to it that no entry always lies across the same border of two windows, its name out of sight of its number.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

from splitjax.config import Source

from ..documents import Document, Question
from ..tokenizing.tokenizer import Tokenizer
from .rows import Skips

DIGITS = 7
_ONSETS = ("b", "br", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea")
_CODAS = ("l", "m", "n", "r", "s", "t", "x", "nd", "rk")
_SYLLABLES = tuple(map("".join, itertools.product(_ONSETS, _VOWELS, _CODAS)))
_ENDINGS = tuple(map("".join, itertools.product(_VOWELS, _CODAS)))
# An edition's letter stands last, where nothing is predicted from it.
_EDITIONS = "abcdefgh"


def parts(source: Source) -> list[str]:
    return [f"book_{book}" for book in range(source.books)]


def identity(source: Source, part: str) -> str:
    return f"{part}:{source.entries}"


def read(source: Source, part: str, tokenizer: Tokenizer | None, skips: Skips) -> Iterator[Document]:
    """Each entry in each edition, one a document."""
    for name, number in entries(source, part):
        for edition in _EDITIONS:
            yield Document(f"{name}: {number}{edition}".encode(), label(source, part))


def questions(source: Source, part: str) -> Iterator[Question]:
    """The number of each entry: what greedy decoding must give after the name, digit for digit."""
    for name, number in entries(source, part):
        yield Question(label(source, part), f"{name}:", f" {number}")


def label(source: Source, part: str) -> str:
    return part if source.label is None else source.label


def entries(source: Source, part: str) -> list[tuple[str, str]]:
    """(name, number) of a book: surnames end as no other book's do, so no name stands in two books."""
    words = math.ceil(math.sqrt(2 * source.entries))
    # The lists are the same in every book.
    firsts = [word.capitalize() for word in random.Random("first names").sample(_SYLLABLES, words)]
    stems = [word.capitalize() for word in random.Random("surnames").sample(_SYLLABLES, words)]
    rng, ending = random.Random(f"phonebook {part}"), _ending(int(part.rpartition("_")[2]))
    pairs = rng.sample(range(words * words), source.entries)
    return [
        (f"{firsts[pair // words]} {stems[pair % words]}{ending}", "".join(rng.choices("0123456789", k=DIGITS)))
        for pair in pairs
    ]


def _ending(book: int) -> str:
    """The ending of a book's surnames: as many syllables as it takes to have one for every book."""
    more, first = divmod(book, len(_ENDINGS))
    return _ENDINGS[first] + (_ending(more - 1) if more else "")
