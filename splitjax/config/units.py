"""Counts with units: "2.7B" parameters, "40M" tokens, "20x" tokens per parameter."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from reprlib import Repr

_SCALE = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}
_COUNT = re.compile(r"(\d[\d_]*(?:\.\d+)?(?:e[+-]?\d{1,2})?)\s*([kmbgt]?)", re.IGNORECASE | re.ASCII)
_RATIO = re.compile(r"(\d[\d_]*(?:\.\d+)?(?:e[+-]?\d{1,2})?)x", re.IGNORECASE | re.ASCII)
_LARGEST = 2**63 - 1  # counts are stored as int64
_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 40


class PerParam(float):
    """A token count given as tokens per (non-embedding) parameter, e.g. ``20x``."""

    def __repr__(self) -> str:
        return f"{float(self)!r}".removesuffix(".0") + "x"

    __str__ = __repr__


def parse_count(value: object) -> int | PerParam:
    """Read a count: an int, a whole float, "40M", "1_000", "1e6", or "20x" (per parameter).

    Raises:
        ValueError: not a count, negative, not whole, or above 2^63 - 1.
    """
    if isinstance(value, PerParam):
        return value
    if isinstance(value, str):
        text = value.strip()
        if match := _RATIO.fullmatch(text):
            return _per_param(float(match[1]), value)
        match = _COUNT.fullmatch(text)
        # Decimal: "2.7B" is 2,700,000,000 and not a float's idea of it.
        number = Decimal(match[1].replace("_", "")).scaleb(_SCALE[match[2].lower()]) if match else None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = Decimal(value)
    else:
        number = None
    if number is None:
        raise ValueError(f"{_short.repr(value)} is not a count such as 40M, 2.7B or 20x")
    if not number.is_finite() or number < 0 or number != number.to_integral_value() or number > _LARGEST:
        raise ValueError(f"{_short.repr(value)} is not a whole, non-negative count")
    return int(number)


def _per_param(ratio: float, value: object) -> PerParam:
    if not (math.isfinite(ratio) and ratio > 0):
        raise ValueError(f"{_short.repr(value)} must be a positive number of tokens per parameter")
    return PerParam(ratio)


def tokens_of(value: int | PerParam, n_params: int) -> int:
    """Tokens meant by `value` for a model of `n_params` non-embedding parameters."""
    return round(float(value) * n_params) if isinstance(value, PerParam) else int(value)


def exact_count(value: int) -> str:
    """A count with a unit that reads back as the same number: 1234567 → "1234.567k"."""
    return f"{Decimal(value).scaleb(-3).normalize():f}k"


def format_count(value: float) -> str:
    """1234567 → "1.23M": three significant digits, for people."""
    for suffix, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale * 0.9995:
            return f"{_three_digits(value / scale)}{suffix}"
    return _three_digits(value)


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if 999.5 <= abs(value) < math.inf else f"{value:.3g}"


def format_bytes(count: float) -> str:
    """`1.5 GB`, in powers of 1000 as disks are sold."""
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e6:.1f} MB"
