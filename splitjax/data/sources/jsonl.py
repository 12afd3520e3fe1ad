"""One JSON object a line, plain or compressed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from splitjax.config import Source, UserError, hash_file

from ..documents import Document
from ..tokenizing.tokenizer import Tokenizer
from .files import as_text, find, lines, packed
from .rows import Skips, document, kept


def parts(source: Source) -> list[str]:
    return find(source.path or "", packed(".jsonl", ".ndjson", ".json"))


def identity(source: Source, part: str) -> str:
    return hash_file(part)


def read(source: Source, part: str, tokenizer: Tokenizer | None, skips: Skips) -> Iterator[Document]:
    for number, line in lines(part):
        if line.strip():
            make = partial(_document, source, line, f"{part}:{number}", skips.need_label)
            if (found := kept(make, source, skips)) is not None:
                yield found


def _document(source: Source, line: bytes, where: str, need_label: bool) -> Document:
    return document(source, _object(as_text(line, where), where), where, need_label)


def _object(line: str, where: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not a JSON object ({error})", where=where, mend="One object a line.") from None
    if not isinstance(row, dict):
        raise UserError(f"not a JSON object but {type(row).__name__}", where=where, mend="One object a line.")
    return row
