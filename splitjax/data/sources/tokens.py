"""Tokenised already: `input_ids` of Parquet rows, or one run of ids in .npy or .bin, cut at an end id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Source, UserError, hash_file, local_copy

from ..documents import Document
from ..tokenizer import Tokenizer
from .columns import rows
from .files import find
from .rows import label


def parts(source: Source) -> list[str]:
    return find(source.path or "", (".parquet", ".npy", ".bin"))


def identity(source: Source, part: str) -> str:
    return hash_file(part)


def read(source: Source, part: str, tokenizer: Tokenizer | None = None) -> Iterator[Document]:
    """Documents with their text decoded, so that hashes, duplicates and clusters work as for text.

    Raises:
        UserError: the tokenizer is still to be trained, or an id lies outside its vocabulary.
    """
    if tokenizer is None:
        raise UserError("ids mean nothing to a tokenizer that is still to be trained", where=part,
                        mend="Set data.tokenizer to the one that made them.")
    for number, (ids, name) in enumerate(_runs(source, part), 1):
        if source.end_id is not None:
            ids = ids[ids != source.end_id]
        ids = tokenizer.text_ids(ids, f"{part}:{number}")
        yield Document(tokenizer.decode(ids.tolist()), name, ids)


def _runs(source: Source, part: str) -> Iterator[tuple[NDArray[np.integer], str | None]]:
    if part.lower().endswith(".parquet"):
        for number, row in rows(part, [source.ids_field, source.label_field or ""]):
            yield np.asarray(row[source.ids_field], np.int64), label(source, row, f"{part}:{number}")
        return
    if source.end_id is None:
        raise UserError("one run of ids needs 'end_id' to tell documents apart", where=part)
    with local_copy(part) as path:
        ids = _array(source, part, path)
        ends = np.flatnonzero(ids == source.end_id) + 1
        for run in np.split(ids, ends[ends < len(ids)]):
            yield run, source.label


def _array(source: Source, part: str, path: Path) -> NDArray[np.integer]:
    try:
        if part.lower().endswith(".npy"):
            ids = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            ids = np.memmap(path, np.dtype(source.dtype).newbyteorder("<"), "r")
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"not an array of ids ({error})", where=part) from None
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(f"holds {ids.dtype} of shape {ids.shape}, not one run of ids", where=part)
    return ids
