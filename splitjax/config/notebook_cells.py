"""Values as a notebook shows them: a short line, a small table, and pandas where it is there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from html import escape
from typing import Any

from .errors import UserError

ROWS = 12
"""The most that a table in a notebook shows."""


class Shown(ABC):
    """What a public object is in a notebook: a short `repr`, a table, a data frame.

    A class says what it is in a line (`_headline`) and in columns of one length (`_columns`).
    """

    @abstractmethod
    def _headline(self) -> str:
        ...

    @abstractmethod
    def _columns(self) -> Mapping[str, Any]:
        ...

    def __repr__(self) -> str:
        return f"<{self._headline()}>"

    def _repr_html_(self) -> str:
        """The line, and the first rows of the table."""
        columns = self._columns()
        head = "".join(f"<th>{escape(name)}</th>" for name in columns)
        rows = list(zip(*columns.values(), strict=True))
        lines = "".join(f"<tr>{''.join(f'<td>{escape(_text(cell))}</td>' for cell in row)}</tr>" for row in rows[:ROWS])
        more = f"<p>… and {len(rows) - ROWS} more rows</p>" if len(rows) > ROWS else ""
        return f"<p><b>{escape(self._headline())}</b></p><table><tr>{head}</tr>{lines}</table>{more}"

    def to_pandas(self) -> Any:
        """The columns as a `pandas.DataFrame`.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UserError("pandas is not installed", mend="pip install pandas") from None
        return pandas.DataFrame({name: list(values) for name, values in self._columns().items()})


def _text(cell: object) -> str:
    if cell is None:
        return "–"
    number = isinstance(cell, float) or getattr(getattr(cell, "dtype", None), "kind", "") == "f"
    return f"{cell:.6g}" if number else str(cell)
