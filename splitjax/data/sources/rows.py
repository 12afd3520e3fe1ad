"""Rows with named fields → documents: what JSONL, Parquet and Arrow share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Source, UserError, did_you_mean

from ..documents import Document


def document(source: Source, row: Mapping[str, Any], where: str) -> Document:
    """The document of a row.

    Raises:
        UserError: no text in the text field, or no label in the label field; names the row.
    """
    return Document(
        _text(row, source.text_field, where), label(source, row, where), vector=_vector(row, source.vector_field, where)
    )


def label(source: Source, row: Mapping[str, Any], where: str) -> str | None:
    """The source's own label, or the row's; None where it has none.

    Raises:
        UserError: a value that is no label.
    """
    value = source.label if source.label is not None else row.get(source.label_field or "")
    if value is None or isinstance(value, bool | int | str):
        return None if value is None else str(value)
    raise UserError(f"field '{source.label_field}' is {type(value).__name__}, not a label", where=where)


def _vector(row: Mapping[str, Any], field: str | None, where: str) -> NDArray[np.float32] | None:
    if field is None:
        return None
    try:
        vector = np.asarray(row[field], np.float32)
    except (KeyError, TypeError, ValueError):
        vector = np.empty(0, np.float32)
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise UserError(f"field '{field}' is no list of numbers", where=where, mend="Check vector_field.")
    return vector


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
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
