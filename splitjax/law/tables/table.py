"""Observations of small runs: reading, checking, hashing."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from splitjax.config import UserError, did_you_mean, hash_json, open_read

NUMBERS = ("n_params", "d_pretrain", "d_special", "loss", "weight", "u_pretrain", "u_special")
WORDS = ("domain", "run", "trunk", "seed")
REQUIRED = ("n_params", "d_pretrain", "loss")
BITS = ("bits", "bpb", "bpc", "bpt")


@dataclass(frozen=True, eq=False)
class Table:
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

    @staticmethod
    def read(path: str | os.PathLike[str], columns: Mapping[str, str] | None = None, unit: str = "nats") -> Table:
        """Read a CSV file.

        Args:
            path: the file; its first line names the columns.
            columns: our name → the file's name, where they differ.
            unit: "nats", or "bits" to convert.

        Raises:
            UserError: file, column, line or value at fault.
        """
        name = str(path)
        try:
            with open_read(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                header = [word.strip() for word in reader.fieldnames or ()]
                reader.fieldnames = header
                rows = [(reader.line_num, row) for row in reader]
        except FileNotFoundError:
            raise UserError("no such table", where=name) from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"not readable as CSV ({error})", where=name) from error
        mapping = {**{key: key for key in (*NUMBERS, *WORDS) if key in header}, **(columns or {})}
        _check_header(header, mapping, unit, name)
        return _build([(f"{name}:{line}", row) for line, row in rows], mapping, unit, name)

    @staticmethod
    def from_rows(rows: Iterable[Mapping[str, object]]) -> Table:
        """Build from mappings with the column names of the CSV form.

        Raises:
            UserError: the row and column at fault.
        """
        rows = list(rows)
        header = list(rows[0]) if rows else []
        mapping = {key: key for key in (*NUMBERS, *WORDS) if key in header}
        _check_header(header, mapping, "nats", "table")
        return _build([(f"row {i + 1}", row) for i, row in enumerate(rows)], mapping, "nats", "table")

    def __len__(self) -> int:
        return len(self.loss)

    def select(self, mask: np.ndarray) -> Table:
        """The rows where `mask` is true."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[mask] for k, v in arrays.items() if isinstance(v, np.ndarray)})

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """Domains in order of appearance."""
        return tuple(dict.fromkeys(self.domain.tolist()))

    @cached_property
    def hash(self) -> str:
        """Hash of all values, independent of the file's layout."""
        return hash_json(self.to_json())

    def to_json(self) -> dict[str, list[object]]:
        """Columns as lists."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        if not self.has_special:
            del arrays["d_special"]
        if self.domains == ("",):
            del arrays["domain"]
        return {k: v.tolist() for k, v in arrays.items() if isinstance(v, np.ndarray)}

    @staticmethod
    def from_json(columns: Mapping[str, Sequence[object]]) -> Table:
        """Undo `to_json`."""
        names = list(columns)
        return Table.from_rows(dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _check_header(header: Sequence[str], mapping: Mapping[str, str], unit: str, where: str) -> None:
    if not header:
        raise UserError("the table is empty", where=where)
    for ours, theirs in mapping.items():
        if ours not in (*NUMBERS, *WORDS):
            mend = did_you_mean(ours, (*NUMBERS, *WORDS))
            raise UserError(f"'{ours}' is not a column that a law knows", where="columns", mend=mend)
        if theirs not in header:
            raise UserError(f"no column '{theirs}'", where=where, mend=did_you_mean(theirs, header))
    for name in REQUIRED:
        if name not in mapping:
            if name == "loss" and (bits := [h for h in header if _says_bits(h)]):
                raise UserError(_BITS.format(bits[0]), where=where, mend=_BITS_MEND)
            mend = f"Columns here: {', '.join(header)}. Map one with --columns {name}=NAME."
            raise UserError(f"column '{name}' is missing", where=where, mend=mend)
    if unit == "nats" and _says_bits(mapping["loss"]):
        raise UserError(_BITS.format(mapping["loss"]), where=where, mend=_BITS_MEND)


_BITS = "column '{}' is in bits, a law is in nats per token"
_BITS_MEND = "Read it with --loss-unit bits (nats = bits · ln 2)."


def _says_bits(name: str) -> bool:
    return any(word in BITS for word in "".join(c if c.isalnum() else " " for c in name.lower()).split())


def _build(rows: Sequence[tuple[str, Mapping[str, object]]], mapping: Mapping[str, str], unit: str, name: str) -> Table:
    if not rows:
        raise UserError("the table has no rows", where=name)
    values: dict[str, np.ndarray] = {}
    for ours, theirs in mapping.items():
        if ours in NUMBERS:
            values[ours] = np.array([_number(row.get(theirs), where, theirs, ours) for where, row in rows])
        else:
            values[ours] = np.array([_word(row.get(theirs), where, theirs) for where, row in rows])
    for ours in ("u_pretrain", "u_special"):
        tokens = values.get(ours.replace("u_", "d_"))
        if ours in values and (tokens is None or (bad := np.flatnonzero(values[ours] > tokens)).size):
            where = name if tokens is None else rows[bad[0]][0]
            raise UserError(f"{ours} exceeds {ours.replace('u_', 'd_')}", where=where, mend="u counts unique tokens.")
    if unit == "bits":
        values["loss"] = values["loss"] * math.log(2)
    _refuse_duplicates(rows, values, mapping)
    for absent in ("trunk", "seed"):  # they tell rows apart; nothing is fitted from them
        values.pop(absent, None)
    blank = np.zeros(len(rows))
    absent_ones = {"d_special": blank, "weight": blank + 1.0, "domain": np.full(len(rows), "")}
    return Table(**(absent_ones | values), has_special="d_special" in values)


def _number(value: object, where: str, column: str, ours: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        text = "nothing" if value in (None, "") else f"'{value}'"
        raise UserError(f"column '{column}' holds {text}, not a number", where=where) from None
    if not math.isfinite(number):
        raise UserError(f"column '{column}' holds {value}", where=where, mend="Drop the row or mend the run.")
    if number < 0 or (number == 0 and ours in ("loss", "n_params")):
        raise UserError(f"column '{column}' holds {number:g}; it must be {_LEAST.get(ours, '0 or more')}", where=where)
    return number


_LEAST = {"loss": "positive", "n_params": "positive"}


def _word(value: object, where: str, column: str) -> str:
    text = "" if value is None else str(value).strip()
    if not text:
        raise UserError(f"column '{column}' is empty", where=where)
    return text


def _refuse_duplicates(
    rows: Sequence[tuple[str, Mapping[str, object]]], values: Mapping[str, np.ndarray], mapping: Mapping[str, str]
) -> None:
    seen: dict[tuple[object, ...], str] = {}
    keys = zip(*(values[name].tolist() for name in sorted(mapping)), strict=True)
    for (where, _), key in zip(rows, keys, strict=True):
        if key in seen:
            mend = "Drop one; repeats of a run differ in a 'seed' or 'run' column, or in loss."
            raise UserError(f"the same row as {seen[key]}", where=where, mend=mend)
        seen[key] = where
