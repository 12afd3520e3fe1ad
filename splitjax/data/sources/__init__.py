"""Where documents come from: each kind lists its parts, and each part yields documents."""

from __future__ import annotations

from collections.abc import Iterator

from splitjax.config import Source

from ..documents import Document
from . import installed_python, jsonl

_KINDS = {"jsonl": jsonl, "installed_python": installed_python}


def parts(source: Source) -> list[str]:
    """Names of independently readable parts (files, or slices), in a fixed order.

    Raises:
        UserError: nothing is there to read.
    """
    return _KINDS[source.type].parts(source)


def read(source: Source, part: str) -> Iterator[Document]:
    """The documents of a part, always in the same order.

    Raises:
        UserError: damaged content; names file and line.
    """
    return _KINDS[source.type].read(source, part)


def identity(source: Source, part: str) -> str:
    """What the part held when it was read: a hash that changes with its content."""
    return _KINDS[source.type].identity(source, part)
