"""Tokenised already: `input_ids` of Parquet rows, or one run of ids in .npy or .bin, cut at an end id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Source, UserError, hash_file, local_copy

from ..documents import Document
from ..tokenizing.tokenizer import Tokenizer
from .arrow_rows import rows
from .files import find
from .rows import Skips, field_of, kept, label


def parts(source: Source) -> list[str]:
    found = find(source.path or "", (".parquet", ".npy", ".bin"))
    bare = [part for part in found if not part.lower().endswith((".parquet", ".npy"))]
    if bare and source.dtype is None:
        raise UserError("has no header that tells the type of its ids", where=bare[0],
                        mend="Set the source's dtype: uint16, uint32, int32 or int64.")
    return found


def identity(source: Source, part: str) -> str:
    return hash_file(part)


def read(source: Source, part: str, tokenizer: Tokenizer | None, skips: Skips) -> Iterator[Document]:
    """Documents with their text decoded, so that hashes, duplicates and clusters work as for text.

    Raises:
        UserError: the tokenizer is still to be trained, or an id lies outside its vocabulary.
    """
    if tokenizer is None:
        raise UserError("ids mean nothing to a tokenizer that is still to be trained", where=part,
                        mend="Set data.tokenizer to the one that made them.")
    for number, (ids, row) in enumerate(_runs(source, part), 1):
        make = partial(_document, source, ids, row, tokenizer, f"{part}:{number}", skips.need_label)
        if (found := kept(make, source, skips)) is not None:
            yield found


def _document(
    source: Source, ids: Any, row: Mapping[str, Any], tokenizer: Tokenizer, where: str, need_label: bool
) -> Document:
    try:
        found = np.asarray(ids, np.int64)
    except (TypeError, ValueError):
        found = np.zeros((0, 0), np.int64)
    if found.ndim != 1:
        raise UserError(f"field '{source.ids_field}' is no list of ids", where=where, mend="Check ids_field.")
    if source.end_id is not None:
        found = found[found != source.end_id]
    found, name = tokenizer.text_ids(found, where), label(source, row, where)
    if name is None and need_label:
        raise UserError("no label", where=where, mend="Set label or label_field.")
    return Document(tokenizer.decode(found.tolist()).encode(), name, found)


def _runs(source: Source, part: str) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """The ids of each document, and the row that may hold its label."""
    if part.lower().endswith(".parquet"):
        for _, row in rows(part, [field for field in (source.ids_field, source.label_field) if field]):
            yield field_of(row, source.ids_field), row
        return
    if source.end_id is None:
        raise UserError("one run of ids needs 'end_id' to tell documents apart", where=part)
    with local_copy(part) as path:
        ids = _array(source, part, path)
        ends = np.flatnonzero(ids == source.end_id) + 1
        for run in np.split(ids, ends[ends < len(ids)]):
            yield run, {}


def _array(source: Source, part: str, path: Path) -> NDArray[np.integer]:
    try:
        if part.lower().endswith(".npy"):
            ids = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            ids = np.memmap(path, np.dtype(source.dtype or "uint16").newbyteorder("<"), "r")
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"not an array of ids ({error})", where=part) from None
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(f"holds {ids.dtype} of shape {ids.shape}, not one run of ids", where=part)
    return ids
