"""Plain text files: a document a file, or a line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from splitjax.config import Source, hash_file, is_remote

from ..documents import Document
from ..tokenizing.tokenizer import Tokenizer
from .files import check_text, find, lines, whole
from .rows import Skips, kept


def parts(source: Source) -> list[str]:
    return find(source.path or "")


def identity(source: Source, part: str) -> str:
    return hash_file(part)


def read(source: Source, part: str, tokenizer: Tokenizer | None, skips: Skips) -> Iterator[Document]:
    """Documents of a file; the label is the source's, or the name of the folder it lies in."""
    label = source.label if source.label is not None else _folder(part)
    for data, where in _pieces(source, part):
        make = partial(_document, data, where, label)
        if (found := kept(make, source, skips)) is not None:
            yield found


def _pieces(source: Source, part: str) -> Iterator[tuple[bytes, str]]:
    if source.document == "line":
        yield from ((line, f"{part}:{number}") for number, line in lines(part))
        return
    yield whole(part), part


def _document(data: bytes, where: str, label: str) -> Document:
    check_text(data, where)
    return Document(data, label)


def _folder(part: str) -> str:
    """Name of the folder that a file lies in."""
    return (PurePosixPath(part).parent.name if is_remote(part) else Path(part).resolve().parent.name).strip()
