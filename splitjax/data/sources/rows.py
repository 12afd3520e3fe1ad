"""Rows with named fields → documents: what JSONL, Parquet and Arrow share."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Source, UserError, did_you_mean

from ..documents import Document

MOST_LISTED = 20
LONGEST_LABEL = 255
"""Bytes of a label: it names a domain, and files and figures by it."""


@dataclasses.dataclass
class Skips:
    """Rows that are left out under `on_error: skip`: how many by reason, and where the first of them stand.

    Args:
        need_label: whether a row without a label is one.
    """

    need_label: bool = False
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    rows: list[str] = dataclasses.field(default_factory=list)

    def add(self, error: UserError) -> None:
        """Count a row that `error` tells of. What stands in brackets differs from row to row: it is no reason."""
        reason = re.sub(r"^id \d+", "an id", error.what.partition(" (")[0])
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if len(self.rows) < MOST_LISTED:
            self.rows.append(f"{error.where}: {error.what}")


def kept(make: Callable[[], Document], source: Source, skips: Skips) -> Document | None:
    """The document of a row; None where it is skipped.

    Raises:
        UserError: what is wrong with it, where the source does not skip.
    """
    try:
        return make()
    except UserError as error:
        if source.on_error == "stop":
            raise
        skips.add(error)
        return None


def document(source: Source, row: Mapping[str, Any], where: str, need_label: bool = False) -> Document:
    """The document of a row.

    Raises:
        UserError: no text in the text field, or no label in the label field; names the row.
    """
    text, name = _text(row, source.text_field, where), label(source, row, where)
    if name is None and need_label:
        raise UserError("no label", where=where, mend="Set label or label_field.")
    return Document(text, name, vector=_vector(row, source.vector_field, where))


def field_of(row: Mapping[str, Any], field: str) -> Any:
    """The value of a field: of that very name, else of the fields inside one another that its dots part.

    Raises:
        KeyError: none.
    """
    if field in row:
        return row[field]
    value: Any = row
    for part in field.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(field)
        value = value[part]
    return value


def label(source: Source, row: Mapping[str, Any], where: str) -> str | None:
    """The source's own label, or the row's without the space around it; None where it has none.

    Raises:
        UserError: a value that is no label.
    """
    found = source.label if source.label is not None else _own_label(source, row, where)
    if found is not None and not found.isascii() and re.search("[\ud800-\udfff]", found):
        raise UserError("a label with half of a surrogate pair, which is no text", where=where)
    if found is not None and ("\0" in found or len(found.encode()) > LONGEST_LABEL):
        raise UserError(f"a label of {len(found):,} characters", where=where, mend=f"{LONGEST_LABEL} bytes at most.")
    return found


def _own_label(source: Source, row: Mapping[str, Any], where: str) -> str | None:
    try:
        value = field_of(row, source.label_field or "")
    except KeyError:
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else value
    if value is None or isinstance(value, bool | int):
        return None if value is None else str(value)
    if not isinstance(value, str):
        raise UserError(f"field '{source.label_field}' is {type(value).__name__}, not a label", where=where)
    if not (value := value.strip()):
        raise UserError(f"field '{source.label_field}' is an empty label", where=where, mend="Or set label.")
    return value


def _vector(row: Mapping[str, Any], field: str | None, where: str) -> NDArray[np.float32] | None:
    if field is None:
        return None
    try:
        vector = np.asarray(field_of(row, field), np.float32)
    except (KeyError, TypeError, ValueError):
        vector = np.empty(0, np.float32)
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise UserError(f"field '{field}' is no list of numbers", where=where, mend="Check vector_field.")
    return vector


def _text(row: Mapping[str, Any], field: str, where: str) -> bytes:
    try:
        text = field_of(row, field)
    except KeyError:
        known = [*row, *(f"{name}.{inner}" for name, value in row.items() if isinstance(value, Mapping)
                         for inner in value)]
        mend = f"Set text_field. {did_you_mean(field, known)}"
        raise UserError(f"no field '{field}'", where=where, mend=mend) from None
    if not isinstance(text, str):
        raise UserError(f"field '{field}' is {type(text).__name__}, not text", where=where)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UserError(f"field '{field}' holds half of a surrogate pair, which is no text", where=where) from None
