"""Counts with units: "2.7B" parameters, "40M" tokens, "20x" tokens per parameter."""

from __future__ import annotations

import math
import re

_SCALE = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_COUNT = re.compile(r"^\s*([0-9]+(?:[._][0-9]+)*(?:e[+-]?[0-9]+)?)\s*([kmbgt]?)\s*$", re.IGNORECASE)


class PerParam(float):
    """A token count given as tokens per (non-embedding) parameter, e.g. ``20x``."""

    def __repr__(self) -> str:
        return f"{float(self):g}x"

    __str__ = __repr__


def parse_count(value: object) -> int | PerParam:
    """Read a count: an int, a whole float, "40M", "1_000", "1e6", or "20x" (per parameter).

    Raises:
        ValueError: not a count, negative, or not whole.
    """
    if isinstance(value, PerParam):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a count such as 40M, 2.7B or 20x")
    if isinstance(value, str):
        text = value.strip()
        if text.lower().endswith("x"):
            try:
                ratio = float(text[:-1])
            except ValueError:
                raise ValueError(f"{value!r} is not a count such as 40M, 2.7B or 20x") from None
            if not (math.isfinite(ratio) and ratio > 0):
                raise ValueError(f"{value!r} must be a positive number of tokens per parameter")
            return PerParam(ratio)
        match = _COUNT.match(text)
        if not match:
            raise ValueError(f"{value!r} is not a count such as 40M, 2.7B or 20x")
        # Multiply before rounding so that "2.7B" is 2,700,000,000 and not a float's idea of it.
        number = round(float(match[1].replace("_", "")) * _SCALE[match[2].lower()], 6)
    else:
        number = float(value)
    if not math.isfinite(number) or number < 0 or number != int(number):
        raise ValueError(f"{value!r} is not a whole, non-negative count")
    return int(number)


def tokens_of(value: int | PerParam, n_params: int) -> int:
    """Tokens meant by `value` for a model of `n_params` non-embedding parameters."""
    return round(float(value) * n_params) if isinstance(value, PerParam) else int(value)


def format_count(value: float) -> str:
    """1234567 → "1.23M": three significant digits, for people."""
    for suffix, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale * 0.9995:
            return f"{value / scale:.3g}{suffix}"
    return f"{value:.3g}"
