"""The study's table: one row a part, cell and domain; numbers only. Parts whose rows are all there are finished."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from splitjax.config import UserError, hash_json, write_atomic
from splitjax.law import Table
from splitjax.runs.sweeping.observations import COLUMNS

from .spec import Part

Row = dict[str, str]
HEADER = ("part", *COLUMNS)


class Rows:
    """Rows by part, as text: what is read is written again unchanged."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows = {(row["part"], row["run"], row["domain"]): row for row in rows}

    @staticmethod
    def read(path: Path) -> Rows:
        """A table that an earlier run of the study wrote.

        Raises:
            UserError: no such table, or not one of a study.
        """
        try:
            with open(path, encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) != HEADER:
                    raise UserError(f"not the table of a study, whose columns are {', '.join(HEADER)}", where=str(path))
                rows = list(reader)
        except OSError as error:
            raise UserError(f"no table ({error.strerror})", where=str(path)) from None
        for number, row in enumerate(rows, 2):
            if None in row or None in row.values():
                raise UserError("a row that is cut short", where=f"{path}:{number}", mend="Remove it: it is redone.")
        return Rows(rows)

    def write(self, path: Path) -> None:
        """Sorted, whole or not at all."""
        text = io.StringIO()
        writer = csv.DictWriter(text, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows[key] for key in sorted(self._rows))
        write_atomic(path, text.getvalue())

    def of(self, part: str) -> list[Row]:
        """The rows of a part, sorted."""
        return [self._rows[key] for key in sorted(self._rows) if key[0] == part]

    def replace(self, part: str, rows: Iterable[Mapping[str, str]]) -> None:
        """Put the rows of a finished part in place of what there was of it."""
        self._rows = {key: row for key, row in self._rows.items() if key[0] != part}
        self._rows |= {(part, row["run"], row["domain"]): {"part": part, **row} for row in rows}

    def take(self, other: Rows) -> None:
        """Add the rows of another table."""
        self._rows |= other._rows

    def has(self, part: Part) -> bool:
        """Whether every cell of the part has a row for each domain."""
        found: dict[str, int] = {}
        for row in self.of(part.name):
            found[row["run"]] = found.get(row["run"], 0) + 1
        return all(found.get(cell.id, 0) == part.experts for cell in part.cells)

    def table(self, part: Part) -> Table:
        """The rows of the part's cells, for the law."""
        ids = {cell.id for cell in part.cells}
        return Table.from_rows([row for row in self.of(part.name) if row["run"] in ids])

    def hash(self, part: str) -> str:
        """Of the rows of a part."""
        return hash_json(self.of(part))


class Sizes:
    """Train tokens of each domain, by part, in a file beside the rows: what a mean over the whole text weighs by.

    Args:
        path: read when asked, so that it may be put there later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, part: str) -> dict[str, int]:
        """Domain → train tokens; {} where they are not known."""
        return self._read().get(part, {})

    def put(self, part: str, sizes: Mapping[str, int]) -> None:
        """Keep the sizes of a part that is about to be trained."""
        write_atomic(self.path, json.dumps(self._read() | {part: dict(sizes)}, indent=1, sort_keys=True) + "\n")

    def _read(self) -> dict[str, dict[str, int]]:
        try:
            return dict(json.loads(self.path.read_text(encoding="utf-8"))) if self.path.exists() else {}
        except (OSError, ValueError) as error:
            raise UserError(f"cannot be read ({error})", where=str(self.path), mend="Remove it.") from None
