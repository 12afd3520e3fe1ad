"""One JSON object a line, plain or .gz."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from splitjax.config import Source, UserError, did_you_mean, hash_file

from ..documents import Document
from .files import find, lines


def parts(source: Source) -> list[str]:
    return find(source.path or "")


def identity(source: Source, part: str) -> str:
    return hash_file(part)


def read(source: Source, part: str) -> Iterator[Document]:
    for number, line in lines(part):
        if line.strip():
            yield _document(source, line, f"{part}:{number}")


def _document(source: Source, line: bytes, where: str) -> Document:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 ({error.reason} at byte {error.start})", where=where) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"not a JSON object ({error})", where=where, mend="One object a line.") from None
    if not isinstance(row, dict):
        raise UserError(f"not a JSON object but {type(row).__name__}", where=where, mend="One object a line.")
    text = _text(row, source.text_field, where)
    return Document(text, source.label if source.label is not None else _label(row, source.label_field, where))


def _text(row: dict[str, Any], field: str, where: str) -> str:
    if field not in row:
        raise UserError(f"no field '{field}'", where=where, mend=f"Set text_field. {did_you_mean(field, row)}")
    text = row[field]
    if not isinstance(text, str):
        raise UserError(f"field '{field}' is {type(text).__name__}, not text", where=where)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"field '{field}' holds half of a surrogate pair, which is no text", where=where) from None
    return text


def _label(row: dict[str, Any], field: str | None, where: str) -> str | None:
    if field is None or row.get(field) is None:
        return None
    if isinstance(row[field], bool | int | str):
        return str(row[field])
    raise UserError(f"field '{field}' is {type(row[field]).__name__}, not a label", where=where)
