"""Comparisons over a table's columns, such as ``d_pretrain > 64000 and domain == 'law'``: parsed, never executed."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from splitjax.config import UserError, did_you_mean

from .table import Table

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9][0-9_]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+)|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign><=|>=|==|!=|<|>|\(|\)|&|\||~|-))"
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_COLUMNS = ("n_params", "d_pretrain", "d_special", "loss", "weight", "domain", "run", "u_pretrain", "u_special")


def rows_where(expression: str, table: Table) -> np.ndarray:
    """Rows for which the expression holds.

    Grammar: ``column OP value`` with OP among < <= > >= == !=, joined by and/or/not (also & | ~) and parentheses.

    Raises:
        UserError: not such an expression, or no such column.
    """
    return _Parser(expression, table).parse()


class _Parser:
    def __init__(self, expression: str, table: Table) -> None:
        self.expression, self.table = expression, table
        self.tokens, self.at = self._split(), 0

    def parse(self) -> np.ndarray:
        mask = self._either()
        if self.at < len(self.tokens):
            raise self._wrong(f"'{self.tokens[self.at][1]}' is out of place")
        return mask

    def _split(self) -> list[tuple[str, str]]:
        tokens, at = [], 0
        text = self.expression.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._wrong(f"cannot read '{text[at:].strip()[:20]}'")
            tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()
        return tokens

    def _wrong(self, what: str) -> UserError:
        return UserError(f"{what} in \"{self.expression}\"", where="holdout", mend='Write e.g. "d_pretrain > 64000".')

    def _next(self, *signs: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at][1] in signs and self.tokens[self.at][0] != "text":
            self.at += 1
            return True
        return False

    def _take(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            raise self._wrong("something is missing at the end")
        self.at += 1
        return self.tokens[self.at - 1]

    def _either(self) -> np.ndarray:
        mask = self._both()
        while self._next("or", "|"):
            mask = mask | self._both()
        return mask

    def _both(self) -> np.ndarray:
        mask = self._single()
        while self._next("and", "&"):
            mask = mask & self._single()
        return mask

    def _single(self) -> np.ndarray:
        negations = 0
        while self._next("not", "~"):
            negations += 1
        if self._next("("):
            mask = self._either()
            if not self._next(")"):
                raise self._wrong("a parenthesis is not closed")
        else:
            mask = self._comparison()
        return ~mask if negations % 2 else mask

    def _comparison(self) -> np.ndarray:
        kind, name = self._take()
        if kind != "word":
            raise self._wrong(f"'{name}' is not a column")
        column = getattr(self.table, name) if name in _COLUMNS else None
        if column is None:
            known = [c for c in _COLUMNS if getattr(self.table, c) is not None]
            raise UserError(f"no column '{name}'", where="holdout", mend=did_you_mean(name, known))
        sign = self._take()[1]
        if sign not in _COMPARE:
            raise self._wrong(f"'{sign}' is not a comparison")
        return _COMPARE[sign](column, self._value(column))

    def _value(self, column: np.ndarray) -> object:
        kind, text = self._take()
        negative = kind == "sign" and text == "-"
        if negative:
            kind, text = self._take()
        if column.dtype.kind in "US":
            if negative or kind == "sign":
                raise self._wrong("a word is compared with something else")
            return text[1:-1] if kind == "text" else text
        if kind != "number":
            raise self._wrong(f"'{text}' is not a number")
        return -float(text) if negative else float(text)
