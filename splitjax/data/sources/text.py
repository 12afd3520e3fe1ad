"""Plain text files: a document a file, or a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from splitjax.config import Source, hash_file, is_remote

from ..documents import Document
from ..tokenizer import Tokenizer
from .files import as_text, find, lines, opened


def parts(source: Source) -> list[str]:
    return find(source.path or "")


def identity(source: Source, part: str) -> str:
    return hash_file(part)


def read(source: Source, part: str, tokenizer: Tokenizer | None = None) -> Iterator[Document]:
    """Documents of a file; the label is the source's, or the name of the folder it lies in."""
    label = source.label if source.label is not None else _folder(part)
    if source.document == "line":
        for number, line in lines(part):
            yield Document(as_text(line, f"{part}:{number}"), label)
        return
    with opened(part) as file:
        data = file.read()
    yield Document(as_text(data, part), label)


def _folder(part: str) -> str:
    """Name of the folder that a file lies in."""
    return PurePosixPath(part).parent.name if is_remote(part) else Path(part).resolve().parent.name
