"""Files of rows as they come: CSV, TSV, JSON lines and Parquet, each row with the place that a complaint can name."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from splitjax.config import UserError, open_read

_TEXT = (".csv", ".tsv", ".jsonl")
SUFFIXES = (*_TEXT, *(f"{suffix}.gz" for suffix in _TEXT), ".parquet")
"""Names of files that hold a table end so."""


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it holds a table."""
    return str(path).lower().endswith(SUFFIXES)


@dataclass(frozen=True)
class Sheet:
    """Columns of a file, before a law has looked at them.

    Attributes:
        name: of the file.
        columns: name → cells as they stand, text or values; columns without a name are left out.
        places: of each row, such as "runs.csv:7".
    """

    name: str
    columns: Mapping[str, Sequence[object]]
    places: Sequence[str]

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Sheet:
        """Read a file by the end of its name.

        Raises:
            UserError: file and line at fault.
        """
        name = str(path)
        kind = next((suffix for suffix in (*_TEXT, ".parquet") if suffix == _plain(name)), ".csv")
        try:
            with open_read(path) as raw:
                return _parquet(raw, name) if kind == ".parquet" else _lines(raw, name, kind)
        except FileNotFoundError:
            raise UserError("no such table", where=name) from None
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"not readable as {_KINDS[kind]} ({error})", where=name) from error

    @staticmethod
    def of(rows: Iterable[Mapping[str, object]], name: str = "table") -> Sheet:
        """Rows of a program."""
        rows = list(rows)
        header = list(dict.fromkeys(key for row in rows for key in row))
        return Sheet(
            name, {key: [row.get(key) for row in rows] for key in header}, [f"row {i + 1}" for i in range(len(rows))]
        )

    def __len__(self) -> int:
        return len(self.places)

    def select(self, kept: np.ndarray) -> Sheet:
        """The rows at these positions, or where a mask is true."""
        at = np.arange(len(self))[kept].tolist()
        columns = {name: [cells[i] for i in at] for name, cells in self.columns.items()}
        return Sheet(self.name, columns, [self.places[i] for i in at])

    def numbers(self, column: str) -> np.ndarray:
        """Cells as numbers.

        Raises:
            UserError: the first cell that is none, or not finite.
        """
        return np.array([number(c, at, column) for c, at in zip(self.columns[column], self.places, strict=True)])

    def words(self, column: str) -> np.ndarray:
        """Cells as text.

        Raises:
            UserError: the first that is empty.
        """
        words = self.text(column)
        if (empty := np.flatnonzero(words == "")).size:
            raise UserError(f"column '{column}' is empty", where=self.places[empty[0]])
        return words

    def text(self, column: str) -> np.ndarray:
        """Cells as text, "" where they are empty."""
        return np.array([_word(cell) for cell in self.columns[column]], str)

    def values(self, column: str) -> np.ndarray:
        """Numbers where all cells are numbers or empty (NaN then), else text."""
        cells = self.columns[column]
        numbers = [math.nan if _word(cell) == "" else _float(cell) for cell in cells]
        if any(value is None for value in numbers) or all(_word(cell) == "" for cell in cells):
            return self.text(column)
        return np.array(numbers, float)

    def without_repeats(self) -> tuple[Sheet, str]:
        """Rows less those that repeat another in every column, and a sentence on what was dropped ("" for nothing)."""
        columns = [self.values(name).tolist() for name in self.columns]
        first: dict[tuple[object, ...], int] = {}
        repeats = []
        for i, cells in enumerate(zip(*columns, strict=True)):
            key = tuple(None if cell != cell else cell for cell in cells)
            if first.setdefault(key, i) != i:
                repeats.append((i, first[key]))
        if not repeats:
            return self, ""
        (row, same), count = repeats[0], len(repeats)
        kept = np.ones(len(self), bool)
        kept[[i for i, _ in repeats]] = False
        told = "1 row repeats another" if count == 1 else f"{count} rows repeat others"
        places = [os.path.basename(self.places[i]) for i in (row, same)]
        which = f"{places[0]} is {places[1]} again" if count == 1 else f"first {places[0]}, {places[1]} again"
        return self.select(kept), f"{told} in every column and {'was' if count == 1 else 'were'} dropped ({which})."


_KINDS = {".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSON lines", ".parquet": "Parquet"}


def _plain(name: str) -> str:
    """The end of a name that tells its kind."""
    base = os.path.basename(name.lower()).removesuffix(".gz")
    return base[base.rfind(".") :] if "." in base else ""


def number(cell: object, where: str, column: str) -> float:
    """A cell as a finite number.

    Raises:
        UserError: it is none.
    """
    value = _float(cell)
    if value is None:
        text = "nothing" if _word(cell) == "" else f"'{cell!s:.80}'"
        raise UserError(f"column '{column}' holds {text}, not a number", where=where)
    if not math.isfinite(value):
        raise UserError(f"column '{column}' holds {_word(cell)}", where=where, mend="Drop the row or mend the run.")
    return value


def _float(cell: object) -> float | None:
    if isinstance(cell, bool):
        return None
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _word(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


def _lines(raw: IO[bytes], name: str, kind: str) -> Sheet:
    packed = raw.read(2) == b"\x1f\x8b"  # by what it is: some tools unpack and keep the name
    raw.seek(0)
    unpacked: Any = gzip.GzipFile(fileobj=raw) if packed else raw
    with io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline="") as file:
        return _json_lines(file, name) if kind == ".jsonl" else _separated(file, name, "\t" if kind == ".tsv" else ",")


def _separated(file: Iterable[str], name: str, sign: str) -> Sheet:
    reader = csv.reader(file, delimiter=sign)
    rows = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
    lines = ((line, row) for line, row in rows if row not in ([], [""]))
    first, header = next(lines, (1, []))
    _refuse_repeated(header, f"{name}:{first}")
    cells: list[list[str]] = []
    places = []
    for line, row in lines:
        if len(row) != len(header):
            what = f"{len(row)} field{'s'[: len(row) != 1]} where the header names {len(header)}"
            raise UserError(what, where=f"{name}:{line}", mend="Mend the line, or quote the field.")
        cells.append(row)
        places.append(f"{name}:{line}")
    columns = {key: [row[i] for row in cells] for i, key in enumerate(header) if key}
    return Sheet(name, columns, places)


def _json_lines(file: Iterable[str], name: str) -> Sheet:
    rows, places = [], []
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        where = f"{name}:{line}"
        try:
            row = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError) as error:
            raise UserError(f"not readable as JSON ({error})", where=where) from None
        pairs = isinstance(row, list) and text.lstrip().startswith("{")
        if not pairs:
            raise UserError("a line of JSON that is no object", where=where, mend='Write e.g. {"n_params": 1e6, …}.')
        _refuse_repeated([str(key) for key, _ in row], where)
        rows.append(dict(row))
        places.append(where)
    sheet = Sheet.of(rows, name)
    return Sheet(name, sheet.columns, places)


def _parquet(raw: IO[bytes], name: str) -> Sheet:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(pa.BufferReader(raw.read()))
        _refuse_repeated(table.column_names, name)
        columns = {key: table.column(key).to_pylist() for key in table.column_names if key}
    except (pa.ArrowException, ValueError, OverflowError) as error:
        told = str(error).partition("\n")[0][:200]
        raise UserError(f"not readable as Parquet ({told})", where=name) from None
    return Sheet(name, columns, [f"{name}, row {i + 1}" for i in range(table.num_rows)])


def _refuse_repeated(header: Sequence[str], where: str) -> None:
    """Refuse a name that two columns have; some tools write columns without a name, which nobody can ask for."""
    for key in _repeated(header):
        raise UserError(f"two columns are named '{key}'", where=where, mend="Rename or drop one.")


def _repeated(header: Sequence[str]) -> Iterator[str]:
    return (key for i, key in enumerate(header) if key and key in header[:i])
