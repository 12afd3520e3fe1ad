"""Conditions and arithmetic over columns, such as ``d_pretrain > 64000 and domain == 'law'`` or ``1 - acc``.

Parsed, never executed: numbers, names of columns, the signs of one grammar and a few functions are all there is.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from splitjax.config import UserError, did_you_mean

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9][0-9_]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)|(?P<word>[A-Za-z_]\w*)"
    r"|`(?P<name>[^`]+)`|(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign><=|>=|==|!=|<|>|\(|\)|&|\||~|\*\*|[-+*/^]))"
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}
_ADD = {"+": np.add, "-": np.subtract}
_TIMES = {"*": np.multiply, "/": np.divide}
_FUNCTIONS = {"exp": np.exp, "log": np.log, "log2": np.log2, "log10": np.log10, "sqrt": np.sqrt}
_DEEPEST = 50
"""Nesting of parentheses and powers; nobody needs more, and Python's stack is finite."""


class Columns(Protocol):
    """What expressions speak of."""

    @property
    def names(self) -> Iterable[str]:
        """Of all columns."""

    def column(self, name: str) -> np.ndarray | None:
        """Values of a column, numbers or text; None where there is none of that name."""


def rows_where(expression: str, columns: Columns, where: str = "holdout") -> np.ndarray:
    """Rows for which a condition holds.

    Grammar: comparisons with < <= > >= == != of a column, or of arithmetic as in `computed`, joined by and/or/not (also
    & | ~) and parentheses. A column of text is compared with a word, quoted or not.

    Args:
        expression: the condition.
        columns: what it may speak of.
        where: what is at fault if it cannot be read.

    Raises:
        UserError: not such a condition, or no such column.
    """
    mask = _Parser(expression, columns, where, 'Write e.g. "d_pretrain > 64000".').parse()
    if mask.dtype != bool:
        raise UserError(f'"{expression}" is no condition', where=where, mend='Write e.g. "d_pretrain > 64000".')
    return mask


def computed(expression: str, columns: Columns, where: str) -> np.ndarray:
    """Values of arithmetic over columns: + - * / ** (or ^), parentheses, numbers, exp, log, log2, log10, sqrt.

    A column whose name is no word is written in backticks: `` `loss (nats)` / 2 ``.

    Raises:
        UserError: not such an expression, or no such column.
    """
    found = _Parser(expression, columns, where, "Write e.g. flops/(6*n_params).").parse()
    if found.dtype.kind != "f":
        raise UserError(f'"{expression}" is no arithmetic', where=where, mend="Write e.g. flops/(6*n_params).")
    return found


class _Parser:
    """One pass, left to right; every method reads what its name says and returns its value for all rows."""

    def __init__(self, expression: str, columns: Columns, where: str, mend: str) -> None:
        self.expression, self.columns, self.where, self.mend = expression, columns, where, mend
        self.tokens, self.at, self.depth = self._split(), 0, 0

    def parse(self) -> np.ndarray:
        with np.errstate(all="ignore"):
            found = self._either()
        if self.at < len(self.tokens):
            raise self._wrong(f"'{self.tokens[self.at][1]}' is out of place")
        if not isinstance(found, np.ndarray):
            raise self._wrong("there is no column")
        return found

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
        return UserError(f'{what} in "{self.expression}"', where=self.where, mend=self.mend)

    def _next(self, *signs: str) -> str:
        """The next token where it is one of these signs or words, else ""."""
        if self.at < len(self.tokens) and self.tokens[self.at][1] in signs and self.tokens[self.at][0] in _SIGNS:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return ""

    def _take(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            raise self._wrong("something is missing at the end")
        self.at += 1
        return self.tokens[self.at - 1]

    def _either(self) -> Any:
        found = self._both()
        while self._next("or", "|"):
            found = self._mask(found) | self._mask(self._both())
        return found

    def _both(self) -> Any:
        found = self._single()
        while self._next("and", "&"):
            found = self._mask(found) & self._mask(self._single())
        return found

    def _single(self) -> Any:
        negations = 0
        while self._next("not", "~"):
            negations += 1
        found = self._comparison()
        if not negations:
            return found
        return ~self._mask(found) if negations % 2 else self._mask(found)

    def _comparison(self) -> Any:
        first = self.at
        left = self._sum()
        sign = self._next(*_COMPARE)
        if not sign:
            return left
        if _is_text(left):
            return _COMPARE[sign](left, self._text())
        if not isinstance(left, np.ndarray):
            raise self._wrong(f"'{self.tokens[first][1]}' is not a column")
        return _COMPARE[sign](self._number(left), self._number(self._sum()))

    def _text(self) -> str:
        kind, text = self._take()
        if kind == "sign":
            raise self._wrong("a word is compared with something else")
        return text[1:-1] if kind == "text" else text

    def _sum(self) -> Any:
        found = self._product()
        while sign := self._next(*_ADD):
            found = _ADD[sign](self._number(found), self._number(self._product()))
        return found

    def _product(self) -> Any:
        found = self._signed()
        while sign := self._next(*_TIMES):
            found = _TIMES[sign](self._number(found), self._number(self._signed()))
        return found

    def _signed(self) -> Any:
        negations = 0
        while sign := self._next("-", "+"):
            negations += sign == "-"
        found = self._atom()
        if self._next("**", "^"):
            found = np.power(self._number(found), self._number(self._deeper(self._signed)))
        return -self._number(found) if negations % 2 else found

    def _atom(self) -> Any:
        kind, text = self._take()
        if kind == "number":
            return self._constant(text)
        if kind == "sign" and text == "(":
            return self._closed()
        if kind == "word" and self._next("("):
            if text not in _FUNCTIONS:
                raise self._wrong(f"'{text}' is not a function ({', '.join(_FUNCTIONS)} are)")
            return _FUNCTIONS[text](self._number(self._closed()))
        if kind not in ("word", "name"):
            raise self._wrong(f"'{text}' is not a column")
        found = self.columns.column(text)
        if found is None:
            raise UserError(f"no column '{text}'", where=self.where, mend=did_you_mean(text, self.columns.names))
        return found

    def _closed(self) -> Any:
        """What stands behind an opening parenthesis, up to its end."""
        found = self._deeper(self._either)
        if not self._next(")"):
            raise self._wrong("a parenthesis is not closed")
        return found

    def _deeper(self, read: Callable[[], Any]) -> Any:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._wrong("there is too much nesting")
        found = read()
        self.depth -= 1
        return found

    def _constant(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise self._wrong(f"'{text}' is not a number") from None

    def _mask(self, found: Any) -> np.ndarray:
        if not (isinstance(found, np.ndarray) and found.dtype == bool):
            raise self._wrong("and, or, not join comparisons only")
        return found

    def _number(self, found: Any) -> Any:
        if _is_text(found):
            raise self._wrong("arithmetic with a column of text")
        if isinstance(found, np.ndarray) and found.dtype == bool:
            raise self._wrong("arithmetic with a comparison")
        return found


_SIGNS = ("sign", "word")


def _is_text(found: Any) -> bool:
    return isinstance(found, np.ndarray) and found.dtype.kind in "US"
