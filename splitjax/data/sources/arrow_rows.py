"""Rows of Parquet and Arrow files, numbered, of the wanted columns alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from splitjax.config import UserError, did_you_mean, is_remote, open_read

_ROWS = 256


def rows(path: str, wanted: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered rows (from 1) of the wanted columns; the first must be there. Classes are told by their names.

    Raises:
        UserError: damaged, or without the first column; names the file.
    """
    import pyarrow

    number = 0
    try:
        for batch in _batches(path):
            names, classes = batch.schema.names, _classes(batch.schema)
            columns = [_column(field, names) for field in wanted]
            if columns[0] is None:
                raise UserError(f"no column '{wanted[0]}'", where=path, mend=did_you_mean(wanted[0], names))
            chosen = list(dict.fromkeys(column for column in columns if column is not None))
            for row in batch.select(chosen).to_pylist():
                number += 1
                yield number, _named(row, classes)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read after row {number} ({error})", where=path) from error


def _column(field: str, names: list[str]) -> str | None:
    """The column that holds a field: of its name, or of its first part where fields lie inside one another."""
    return next((name for name in (field, field.partition(".")[0]) if name in names), None)


def _classes(schema: Any) -> dict[str, list[str]]:
    """Names of the classes that a column's numbers stand for, as the datasets library notes them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: list(map(str, told["names"])) for name, told in features.items()
                if isinstance(told, dict) and told.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError):
        return {}


def _named(row: dict[str, Any], classes: dict[str, list[str]]) -> dict[str, Any]:
    for column in classes.keys() & row.keys():
        number = row[column]
        if isinstance(number, int):
            row[column] = classes[column][number] if 0 <= number < len(classes[column]) else None
    return row


def _batches(path: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow import ipc, parquet

    if path.lower().endswith(".parquet"):
        with open_read(path) as source, parquet.ParquetFile(source if is_remote(path) else path) as file:
            yield from file.iter_batches(_ROWS)
    else:
        with open_read(path) if is_remote(path) else pyarrow.memory_map(path) as file, ipc.open_stream(file) as stream:
            yield from stream
