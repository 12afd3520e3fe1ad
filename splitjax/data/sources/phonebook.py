"""The synthetic memorisation corpus: K disjoint books of names and numbers, and what is remembered of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from splitjax.config import Source

from ..documents import Document
from ..tokenizer import Tokenizer

_ONSETS = ("b", "br", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea")
_CODAS = ("l", "m", "n", "r", "s", "t", "x", "nd", "rk")
_FORMS = (
    "The number of {name} is {number}.",
    "Call {name} at {number}.",
    "{name}: {number}",
    "To reach {name}, dial {number}.",
    "{name} answers the telephone {number}.",
    "Who wants {name} dials {number}.",
    "Listed under {name} is {number}.",
    "{number} belongs to {name}.",
)


def parts(source: Source) -> list[str]:
    return [f"book_{book}" for book in range(source.books)]


def identity(source: Source, part: str) -> str:
    return f"{part}:{source.entries}"


def read(source: Source, part: str, tokenizer: Tokenizer | None = None) -> Iterator[Document]:
    """Each entry in several wordings, one a document: held-out documents ask for facts that training has worded."""
    for name, number in entries(source, part):
        for form in _FORMS:
            yield Document(form.format(name=name, number=number), part if source.label is None else source.label)


def entries(source: Source, part: str) -> list[tuple[str, str]]:
    """(name, number) of a book; no name stands in two books."""
    rng = random.Random(f"phonebook {part}")
    # The surname ends in the book's own syllable, so that books are disjoint whatever their sizes.
    own = _syllable(random.Random(f"surname {part}")) + "aeiou"[int(part.rpartition("_")[2]) % 5]
    found: dict[str, str] = {}
    while len(found) < source.entries:
        first = (_syllable(rng) + _syllable(rng)).capitalize()
        last = (_syllable(rng) + own).capitalize() + part.rpartition("_")[2]
        found.setdefault(f"{first} {last}", "".join(rng.choices("0123456789", k=7)))
    return list(found.items())


def exact_match(complete: Callable[[Sequence[str]], Sequence[str]], source: Source, part: str) -> float:
    """Share of a book's numbers that `complete` gives, digit for digit, after "The number of NAME is"."""
    book = entries(source, part)
    answers = complete([f"The number of {name} is" for name, _ in book])
    return sum(answer.strip()[:7] == number for answer, (_, number) in zip(answers, book, strict=True)) / len(book)


def _syllable(rng: random.Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
