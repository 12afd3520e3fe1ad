"""Second derivatives by forward differentiation of numpy arrays: what a Newton step needs of a law's columns.

A jet is a value with its first and second derivatives in a few parameters. Only derivatives that are not zero are
kept, and they keep the shape in which they came about: what depends on a parameter alone is never spread over rows.
The module serves as the `xp` of `Family.columns`. Nothing is compiled, so a first fit is as quick as the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

Array = Any


class Jet:
    """A value with derivatives.

    Attributes:
        value: an array.
        first: parameter → first derivative.
        second: (i, j), i <= j → second derivative.
    """

    __slots__ = ("first", "second", "value")
    __array_ufunc__ = None  # numpy leaves `array * jet` to the jet

    def __init__(self, value: Array, first: dict[int, Array], second: dict[tuple[int, int], Array]) -> None:
        self.value, self.first, self.second = value, first, second

    def __neg__(self) -> Jet:
        return self * -1.0

    def __add__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value + other, self.first, self.second)
        return Jet(self.value + other.value, _sum(self.first, other.first), _sum(self.second, other.second))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Jet:
        return self + -1.0 * other

    def __rsub__(self, other: Any) -> Jet:
        return -self + other

    def __mul__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            first = {i: other * d for i, d in self.first.items()}
            return Jet(self.value * other, first, {ij: other * d for ij, d in self.second.items()})
        a, b = self.value, other.value
        first = _sum({i: b * d for i, d in self.first.items()}, {i: a * d for i, d in other.first.items()})
        second = _sum({ij: b * d for ij, d in self.second.items()}, {ij: a * d for ij, d in other.second.items()})
        cross: dict[tuple[int, int], Array] = {}
        for i, di in self.first.items():
            for j, dj in other.first.items():
                key, term = (min(i, j), max(i, j)), di * dj
                term = 2.0 * term if i == j else term
                cross[key] = cross[key] + term if key in cross else term
        return Jet(a * b, first, _sum(second, cross))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        return self * (reciprocal(other) if isinstance(other, Jet) else 1.0 / other)

    def __rtruediv__(self, other: Any) -> Jet:
        return reciprocal(self) * other

    def through(self, value: Array, slope: Array, bend: Array) -> Jet:
        """f of this jet, from f, f' and f'' at its value."""
        first = {i: slope * d for i, d in self.first.items()}
        second = {ij: slope * d for ij, d in self.second.items()}
        order = sorted(self.first)
        for a, i in enumerate(order):
            bent = bend * self.first[i]
            for j in order[a:]:
                term = bent * self.first[j]
                second[i, j] = second[i, j] + term if (i, j) in second else term
        return Jet(value, first, second)


def _sum(one: dict[Any, Array], other: dict[Any, Array]) -> dict[Any, Array]:
    out = dict(one)
    for key, value in other.items():
        out[key] = out[key] + value if key in out else value
    return out


def variables(values: Iterable[Array]) -> list[Jet]:
    """Jets of the parameters themselves."""
    return [Jet(value, {i: 1.0}, {}) for i, value in enumerate(values)]


def reciprocal(x: Jet) -> Jet:
    value = 1.0 / x.value
    return x.through(value, -value * value, 2.0 * value**3)


def exp(x: Any) -> Any:
    if not isinstance(x, Jet):
        return np.exp(x)
    value = np.exp(x.value)
    return x.through(value, value, value)


def expm1(x: Any) -> Any:
    if not isinstance(x, Jet):
        return np.expm1(x)
    slope = np.exp(x.value)
    return x.through(np.expm1(x.value), slope, slope)


def log(x: Any) -> Any:
    if not isinstance(x, Jet):
        return np.log(x)
    slope = 1.0 / x.value
    return x.through(np.log(x.value), slope, -slope * slope)


def log1p(x: Any) -> Any:
    if not isinstance(x, Jet):
        return np.log1p(x)
    slope = 1.0 / (1.0 + x.value)
    return x.through(np.log1p(x.value), slope, -slope * slope)


def logaddexp(x: Any, y: Any) -> Any:
    if not isinstance(x, Jet) and not isinstance(y, Jet):
        return np.logaddexp(x, y)
    apart = y - x
    value = np.logaddexp(*(part.value if isinstance(part, Jet) else part for part in (x, y)))
    # log(1 + e^t) has slope 1 / (1 + e^-t) and bend slope · (1 - slope).
    with np.errstate(over="ignore"):
        slope = 1.0 / (1.0 + np.exp(-apart.value))
    out = x + apart.through(value, slope, slope * (1.0 - slope))
    return Jet(value, out.first, out.second)


def maximum(x: Any, floor: float) -> Any:
    """Of a jet and a number: below it nothing changes."""
    if not isinstance(x, Jet):
        return np.maximum(x, floor)
    above = x.value > floor
    return x.through(np.maximum(x.value, floor), above, np.zeros_like(x.value))


def ones_like(x: Array) -> Array:
    return np.ones_like(x)
