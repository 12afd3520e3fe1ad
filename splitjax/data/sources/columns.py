"""Parquet files, and Hugging Face datasets saved to disk (Arrow files in a folder)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from splitjax.config import Source, UserError, did_you_mean, find_files, hash_file, is_remote, open_read, read_json

from ..documents import Document
from ..tokenizer import Tokenizer
from .files import find
from .rows import document

_ROWS = 256


def parts(source: Source) -> list[str]:
    if source.type == "parquet":
        return find(source.path or "", (".parquet",))
    return [file for file in find(source.path or "", (".arrow",)) if _saved(file)]


def identity(source: Source, part: str) -> str:
    return hash_file(part)


def read(source: Source, part: str, tokenizer: Tokenizer | None = None) -> Iterator[Document]:
    wanted = [field for field in (source.text_field, source.label_field, source.vector_field) if field]
    for number, row in rows(part, wanted):
        yield document(source, row, f"{part}:{number}")


def rows(path: str, wanted: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered rows (from 1) of the wanted columns; the first must be there.

    Raises:
        UserError: damaged, or without the first column; names the file.
    """
    import pyarrow

    number = 0
    try:
        for batch in _batches(path):
            names = batch.schema.names
            if wanted[0] not in names:
                raise UserError(f"no column '{wanted[0]}'", where=path, mend=did_you_mean(wanted[0], names))
            for row in batch.select([name for name in wanted if name in names]).to_pylist():
                number += 1
                yield number, row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read after row {number} ({error})", where=path) from error


def _batches(path: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow import ipc, parquet

    if path.lower().endswith(".parquet"):
        with open_read(path) as source, parquet.ParquetFile(source if is_remote(path) else path) as file:
            yield from file.iter_batches(_ROWS)
    else:
        with open_read(path) if is_remote(path) else pyarrow.memory_map(path) as file, ipc.open_stream(file) as stream:
            yield from stream


def _saved(file: str) -> bool:
    """Whether a dataset counts the file as its own: an earlier save may have left others in the folder."""
    folder, _, name = file.rpartition("/")
    state = f"{folder}/state.json" if folder else "state.json"
    return not find_files(state) or name in [row["filename"] for row in read_json(state)["_data_files"]]
