"""Observations of small runs: what a law reads of a file, checked and hashed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from splitjax.config import Shown, UserError, format_count, hash_json

from .column_names import APART, NUMBERS, OURS, POSITIVE, WORDS, meaning
from .expression import computed, rows_where
from .sheet import Sheet

NAMES = {"n_params": "N", "tokens": "T", "d_pretrain": "D", "d_special": "D'"}
"""How people read columns."""
_TINIEST = 1e-60
"""Powers and products of figures beyond it and its inverse leave what floats hold."""


@dataclass(frozen=True, eq=False, repr=False)
class Table(Shown):
    """Rows (N, D, D', domain, loss). Arrays have one entry a row.

    Attributes:
        n_params: N, non-embedding parameters.
        d_pretrain, d_special: D and D', tokens.
        loss: nats per token (any positive loss serves).
        weight: how much a row counts in the objective.
        domain: domain of a row; "" where the table has none.
        run: runs whose errors belong together; None where the table has no such column.
        u_pretrain, u_special: unique tokens among D and D'; None where the table has no such column.
        has_special: whether the table has D' at all.
        other: further columns of the file by name, numbers or text: conditions may speak of them, laws do not.
        notes: what was dropped while reading, one sentence each.
        places: where each row stands, such as "runs.csv:7"; empty where that is not known.
    """

    n_params: np.ndarray
    d_pretrain: np.ndarray
    d_special: np.ndarray
    loss: np.ndarray
    weight: np.ndarray
    domain: np.ndarray
    run: np.ndarray | None = None
    u_pretrain: np.ndarray | None = None
    u_special: np.ndarray | None = None
    has_special: bool = True
    other: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    @staticmethod
    def read(
        path: str | os.PathLike[str], columns: Mapping[str, str] | None = None, unit: str = "nats",
        where: str | None = None,
    ) -> Table:
        """Read a file: .csv, .tsv, .jsonl (each also with .gz) or .parquet, by its name; CSV if it has another.

        Rows that repeat another in every column are dropped, and told in `notes`.

        Args:
            path: the file. Of CSV and TSV the first line names the columns.
            columns: our name → the file's name, where they differ, or arithmetic over the file's columns ("1-acc",
                "flops/(6*n_params)"; see `expression.computed`).
            unit: "nats", or "bits" to convert.
            where: rows to read, a condition over all columns ("train_set == c4 and d_pretrain/n_params > 5").

        Raises:
            UserError: file, column, line or value at fault.
        """
        return _table(Sheet.read(path), columns or {}, unit, where)

    @staticmethod
    def from_rows(rows: Iterable[Mapping[str, object]]) -> Table:
        """Build from mappings with the column names of the CSV form.

        Raises:
            UserError: the row and column at fault.
        """
        return _table(Sheet.of(rows), {}, "nats", None)

    def __len__(self) -> int:
        return len(self.loss)

    def _headline(self) -> str:
        sizes = sorted(set(self.n_params.tolist()))
        return (f"Table: {len(self)} rows, {len(sizes)} sizes N {format_count(sizes[0])} to {format_count(sizes[-1])}, "
                f"{len(self.domains)} domains")

    def _columns(self) -> Mapping[str, np.ndarray]:
        return {name: values for name in self.names if (values := self.column(name)) is not None}

    def plot(self) -> Any:
        """Loss over D + D', a colour a size N."""
        from ..drawing.canvas import draw_rows

        return draw_rows(self.n_params, self.d_pretrain + self.d_special, self.loss)

    def select(self, mask: np.ndarray) -> Table:
        """The rows where `mask` is true."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen = {k: v[mask] for k, v in arrays.items() if isinstance(v, np.ndarray)}
        other = {name: values[mask] for name, values in self.other.items()}
        places = tuple(np.array(self.places)[mask].tolist()) if self.places else ()
        return replace(self, **chosen, other=other, places=places)

    def place(self, row: int) -> str:
        """How to call a row: by its run, by the line of its file, or by its number."""
        if self.run is not None:
            return f"run {self.run[row]}"
        return os.path.basename(self.places[row]) if self.places else f"row {row + 1}"

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns, also of those that no law reads."""
        own = (f.name for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray))
        return tuple(dict.fromkeys([*own, *self.other]))

    def column(self, name: str) -> np.ndarray | None:
        """Values of a column by name; None where there is none."""
        own = getattr(self, name, None) if name in OURS else None
        return own if own is not None else self.other.get(name)

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """Domains in order of appearance."""
        return tuple(dict.fromkeys(self.domain.tolist()))

    @cached_property
    def hash(self) -> str:
        """Hash of all values that a law reads, independent of the file's layout."""
        return hash_json(self.to_json())

    def to_json(self) -> dict[str, list[object]]:
        """Columns that a law reads, as lists."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        if not self.has_special:
            del arrays["d_special"]
        if self.domains == ("",):
            del arrays["domain"]
        return {k: v.tolist() for k, v in arrays.items() if isinstance(v, np.ndarray)}

    @staticmethod
    def from_json(columns: Mapping[str, Sequence[object]]) -> Table:
        """Undo `to_json`."""
        count = {len(values) for values in columns.values()}
        if len(count) != 1:
            raise UserError("columns of different lengths", where="table")
        sheet = Sheet("table", columns, [f"row {i + 1}" for i in range(count.pop())])
        return Table(**_arrays(_Reading(sheet, {}, "nats")))


def clusters(table: Table) -> np.ndarray:
    """Number of the run of each row."""
    if table.run is None:
        return np.arange(len(table))
    return np.unique(table.run, return_inverse=True)[1]


def _table(sheet: Sheet, columns: Mapping[str, str], unit: str, where: str | None) -> Table:
    sheet, dropped = sheet.without_repeats()
    reading = _Reading(sheet, columns, unit)
    told = [dropped] if dropped else []
    if where is not None:
        reading, count = reading.where(where), len(sheet)
        told.append(f'Of {count} rows, {len(reading)} were read: "{where}".')
    return Table(**_arrays(reading), other=reading.other, notes=tuple(told), places=tuple(reading.sheet.places))


def _arrays(reading: _Reading) -> dict[str, Any]:
    values = reading.values()
    blank = np.zeros(len(reading))
    absent_ones = {"d_special": blank, "weight": blank + 1.0, "domain": np.full(len(reading), "")}
    return {**absent_ones, **values, "has_special": "d_special" in values}


class _Reading:
    """A file under the names that a law knows.

    Args:
        sheet: the file.
        given: our name → the file's, or arithmetic over columns.
        unit: of the loss, "nats" or "bits".

    Raises:
        UserError: what `column_names.meaning` refuses, or no rows.
    """

    def __init__(self, sheet: Sheet, given: Mapping[str, str], unit: str) -> None:
        self.sheet, self.unit = sheet, unit
        self.meaning = meaning(sheet.columns, given, unit, sheet.name)
        if not len(sheet):
            raise UserError("the table has no rows", where=sheet.name)

    def __len__(self) -> int:
        return len(self.sheet)

    def where(self, condition: str) -> _Reading:
        """The rows for which a condition over our columns and the file's holds.

        Raises:
            UserError: no such condition or column, or no row.
        """
        kept = rows_where(condition, _Loose(self), "where")
        if not kept.any():
            raise UserError(f'"{condition}" holds for none of {len(self)} rows', where="where")
        return _Reading(self.sheet.select(kept), self.meaning, self.unit)

    def values(self) -> dict[str, np.ndarray]:
        """Our columns, checked.

        Raises:
            UserError: line and value at fault.
        """
        out = {}
        for ours, theirs in self.meaning.items():
            out[ours] = self._numbers(ours, theirs) if ours in NUMBERS else self.sheet.words(theirs)
        for absent in APART:
            out.pop(absent, None)
        for ours in ("u_pretrain", "u_special"):
            tokens = out.get(ours.replace("u_", "d_"))
            if ours in out and (tokens is None or (bad := np.flatnonzero(out[ours] > tokens)).size):
                where = self.sheet.name if tokens is None else self.sheet.places[bad[0]]
                what = f"{ours} exceeds {ours.replace('u_', 'd_')}"
                raise UserError(what, where=where, mend="u counts unique tokens.")
        if self.unit == "bits":
            out["loss"] = out["loss"] * math.log(2)
        return out

    def _numbers(self, ours: str, theirs: str) -> np.ndarray:
        if theirs in self.sheet.columns:
            values, told = self.sheet.numbers(theirs), f"column '{theirs}'"
        else:
            values, told = _Strict(self, (ours,)).value(theirs), f"column '{ours}={theirs}'"
        for place, value in zip(self.sheet.places, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise UserError(f"{told} holds {value}", where=place, mend="Drop the row or mend the run.")
            if value < 0 or (value == 0 and ours in POSITIVE):
                least = "positive" if ours in POSITIVE else "0 or more"
                raise UserError(f"{told} holds {value:g}; it must be {least}", where=place)
            if value and not _TINIEST < value < 1 / _TINIEST:
                raise UserError(f"{told} holds {value:g}, which no run has", where=place, mend="Look at its unit.")
        return values

    @cached_property
    def other(self) -> dict[str, np.ndarray]:
        """Columns of the file that no law reads, for conditions."""
        names = dict(zip(self.sheet.columns, self.sheet.columns, strict=True))
        for ours, theirs in self.meaning.items():
            names.pop(ours, None)
            if ours in APART:
                names[ours] = theirs
        return {name: self.sheet.values(theirs) for name, theirs in names.items()}


class _Strict:
    """Columns for arithmetic: every cell that is used must be a number.

    A name means the file's column first, so that `loss=1-loss` can be said, then one of ours that was given.
    """

    def __init__(self, reading: _Reading, asked: tuple[str, ...]) -> None:
        self.reading, self.asked = reading, asked

    @property
    def names(self) -> Iterable[str]:
        ours = (name for name in self.reading.meaning if name not in (*self.asked, *WORDS))
        return list(dict.fromkeys([*self.reading.sheet.columns, *ours]))

    def value(self, expression: str) -> np.ndarray:
        """The arithmetic of the last column asked for."""
        found = computed(expression, self, f"column {self.asked[-1]}={expression}")
        return np.broadcast_to(found, len(self.reading)).copy()

    def column(self, name: str) -> np.ndarray | None:
        sheet, meaning = self.reading.sheet, self.reading.meaning
        if name in sheet.columns:
            return self._cells(name)
        if name not in meaning or name in WORDS:
            return None
        if name in self.asked:
            raise UserError(f"column '{name}' is given by itself", where="columns")
        theirs = meaning[name]
        return self._cells(theirs) if theirs in sheet.columns else self._of(name).value(theirs)

    def _of(self, name: str) -> _Strict:
        return type(self)(self.reading, (*self.asked, name))

    def _cells(self, name: str) -> np.ndarray:
        return self.reading.sheet.numbers(name)


class _Loose(_Strict):
    """Columns for conditions: text is text, an empty cell among numbers is NaN; what a law calls so comes first."""

    def __init__(self, reading: _Reading, asked: tuple[str, ...] = ()) -> None:
        super().__init__(reading, asked)

    @property
    def names(self) -> Iterable[str]:
        return list(dict.fromkeys([*self.reading.sheet.columns, *self.reading.meaning]))

    def column(self, name: str) -> np.ndarray | None:
        meaning, columns = self.reading.meaning, self.reading.sheet.columns
        if not self.asked and name in meaning:
            theirs = meaning[name]
            if name in ("domain", "run"):
                return self.reading.sheet.text(theirs)
            found = self._cells(theirs) if theirs in columns else self._of(name).value(theirs)
            return found * math.log(2) if name == "loss" and self.reading.unit == "bits" else found
        return super().column(name)

    def _cells(self, name: str) -> np.ndarray:
        return self.reading.sheet.values(name)
