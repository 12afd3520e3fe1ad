"""Where documents come from: each kind lists its parts, and each part yields documents.

Enters: one module a kind of source. Does not enter: what becomes of a document once it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from splitjax.config import Source

from ..documents import Document, Question
from ..tokenizing.tokenizer import Tokenizer
from . import columns, installed_python, jsonl, phonebook, seqio_tasks, text, tokens
from .rows import Skips

_KINDS: dict[str, Any] = {
    "jsonl": jsonl,
    "parquet": columns,
    "huggingface": columns,
    "text": text,
    "tokens": tokens,
    "seqio": seqio_tasks,
    "phonebook": phonebook,
    "installed_python": installed_python,
}


def parts(source: Source) -> list[str]:
    """Names of independently readable parts (files, tasks, books), in a fixed order.

    Raises:
        UserError: nothing is there to read.
    """
    return _KINDS[source.type].parts(source)


def read(
    source: Source, part: str, tokenizer: Tokenizer | None = None, skips: Skips | None = None
) -> Iterator[Document]:
    """The documents of a part, always in the same order.

    Args:
        tokenizer: None where it is still to be trained on what is read.
        skips: counts the rows that are left out under `on_error: skip`.

    Raises:
        UserError: damaged content; names file and line.
    """
    return _KINDS[source.type].read(source, part, tokenizer, Skips() if skips is None else skips)


def questions(source: Source, part: str) -> Iterator[Question]:
    """What may be asked of the part, where its kind knows: exact match is measured by it."""
    ask = getattr(_KINDS[source.type], "questions", None)
    return ask(source, part) if ask else iter(())


def identity(source: Source, part: str) -> str:
    """What the part held when it was read: a hash that changes with its content."""
    return _KINDS[source.type].identity(source, part)


def rates(source: Source) -> dict[str, float]:
    """Rates of examples by label that the source declares (a seqio Mixture); empty where it declares none."""
    return seqio_tasks.rates(source) if source.type == "seqio" else {}
