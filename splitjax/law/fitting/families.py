"""Law families: how the loss depends on parameters N, mixture tokens D and domain tokens D'.

A family is a small class. Given its nonlinear parameters it is a non-negative combination of a few columns,

    L(N, D, D') = sum_j c_j · column_j(N, D, D'; nonlinear parameters),   c_j >= 0,

which is what lets the solver project the linear parameters out. Columns are written in logarithms, for numpy and
jets alike (`xp`), because powers over ten orders of magnitude are only tame there. Where each form is published
is told in docs/law.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from splitjax.config import UserError, did_you_mean

LOG_ZERO = -1e6
"""Logarithm of zero tokens: finite, so that 0 · LOG_ZERO is 0 in gradients, and exp(exponent · LOG_ZERO) is 0."""

Array = Any
"""A numpy array, a jet, or what else `xp` computes with."""


class Rows(NamedTuple):
    """Coordinates of observations: logarithms of N, D, D' and repeats (epochs - 1) of D and D'."""

    n: Array
    d: Array
    s: Array
    repeat_d: Array
    repeat_s: Array


@dataclass(frozen=True)
class Parameter:
    """A nonlinear parameter in the solver's coordinate.

    Attributes:
        name: as in the formula.
        low, high: bounds. For a scale they bound the log of the parameter in units of the table's geometric means.
        start: range that random starts are drawn from.
        scale: positive, solved for as a logarithm, its own for every domain; exponents are shared by domains.
        log: solved for as a logarithm, though domains share it.
    """

    name: str
    low: float
    high: float
    start: tuple[float, float]
    scale: bool = False
    log: bool = False


def exponent(name: str, high: float = 3.0) -> Parameter:
    """A non-negative power. The lower bound keeps a column apart from the constant."""
    return Parameter(name, 0.005, high, (0.03, 1.2))


def scale(name: str, low: float = -25.0, high: float = 20.0) -> Parameter:
    """A positive scale such as k or D0."""
    return Parameter(name, low, high, (-5.0, 5.0), scale=True)


REPEATS = {
    "R_pretrain": Parameter("R_pretrain", float(np.log(0.05)), float(np.log(1e4)), (0.0, 5.0), scale=True),
    "R_special": Parameter("R_special", float(np.log(0.05)), float(np.log(1e4)), (0.0, 5.0), scale=True),
}
"""Half-lives of repeated tokens, in epochs beyond the first (Muennighoff et al.'s R*)."""


class Family(ABC):
    """What the solver needs to know of a law. Subclasses set the class variables and write what is abstract."""

    name: ClassVar[str]
    formula: ClassVar[str]
    linear: ClassVar[tuple[str, ...]]
    nonlinear: ClassVar[tuple[Parameter, ...]]
    of_n: ClassVar[frozenset[str]] = frozenset({"A", "a"})
    """Parameters that drop out of a table with one N."""
    uses_special: ClassVar[bool] = True
    in_units: ClassVar[bool] = False
    """The formula measures tokens in U: a power of them that depends on N means something else in other units."""

    @abstractmethod
    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        """One column a linear parameter, from log N, log D, log D' and nonlinear parameters (scales as logs)."""

    @abstractmethod
    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        """Log of the factor from a parameter in units of exp(n) parameters and exp(t) tokens to the formula's own."""

    @abstractmethod
    def finite(self, d: Array, s: Array) -> Array:
        """Where the law gives a finite loss, from tokens D and D'."""


class Chinchilla(Family):
    name = "chinchilla"
    formula = "E + A/N^a + B/D^b"
    linear = ("E", "A", "B")
    nonlinear = (exponent("a"), exponent("b"))
    uses_special = False

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        return xp.ones_like(n), xp.exp(-p["a"] * n), xp.exp(-p["b"] * d)

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n, "B": p["b"] * t}

    def finite(self, d: Array, s: Array) -> Array:
        return d > 0


class Additive(Family):
    name = "additive"
    formula = "E + A/N^a + B/D^b + C/D'^c"
    linear = ("E", "A", "B", "C")
    nonlinear = (exponent("a"), exponent("b"), exponent("c"))

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        return xp.ones_like(n), xp.exp(-p["a"] * n), xp.exp(-p["b"] * d), xp.exp(-p["c"] * s)

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n, "B": p["b"] * t, "C": p["c"] * t}

    def finite(self, d: Array, s: Array) -> Array:
        return (d > 0) & (s > 0)


class EffectiveData(Family):
    name = "effective_data"
    formula = "E + A/N^a + B/(D' + k·D^g)^b"
    linear = ("E", "A", "B")
    nonlinear = (exponent("a"), exponent("b"), scale("k"), exponent("g"))

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        effective = xp.logaddexp(s, p["k"] + p["g"] * d)
        return xp.ones_like(n), xp.exp(-p["a"] * n), xp.exp(-p["b"] * effective)

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n, "B": p["b"] * t, "k": (1 - p["g"]) * t}

    def finite(self, d: Array, s: Array) -> Array:
        return (d > 0) | (s > 0)


class Adapting(Family):
    """`effective_data` whose mixture tokens are worth more to a model that has adapted to its domain: h = 0 is that."""

    name = "adapting"
    formula = "E + A/N^a + B/(D' + k·D^g·(1 + D'/D0)^h)^b"
    linear = ("E", "A", "B")
    nonlinear = (
        exponent("a"), exponent("b"), scale("k"), exponent("g"), scale("D0"), Parameter("h", 0.0, 1.0, (0.0, 0.6)),
    )

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        transferred = p["k"] + p["g"] * d + p["h"] * xp.logaddexp(0.0, s - p["D0"])
        return xp.ones_like(n), xp.exp(-p["a"] * n), xp.exp(-p["b"] * xp.logaddexp(s, transferred))

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n, "B": p["b"] * t, "k": (1 - p["g"]) * t, "D0": t}

    def finite(self, d: Array, s: Array) -> Array:
        return (d > 0) | (s > 0)


class Blending(Family):
    """The worth of a mixture token grows with the mixture's share of all tokens: h = 0 is `effective_data`."""

    name = "blending"
    formula = "E + A/N^a + B/(D' + D·(1 - m^h) + k·D^g·m^h)^b, m = D/(D + D'), h = h0·((D + D')/U)^q"
    linear = ("E", "A", "B")
    nonlinear = (
        exponent("a"), exponent("b"), scale("k"), exponent("g"),
        Parameter("h0", float(np.log(0.01)), float(np.log(6.0)), (-2.0, 1.0), log=True),
        Parameter("q", -0.5, 0.6, (-0.2, 0.3)),
    )
    in_units = True

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        tokens = xp.logaddexp(d, s)
        z = xp.maximum(xp.exp(p["h0"] + p["q"] * tokens) * (d - tokens), -700.0)  # log of m^h
        x = xp.log(xp.exp(s) - xp.exp(d) * xp.expm1(z) + xp.exp(p["k"] + p["g"] * d + z))
        return xp.ones_like(n), xp.exp(-p["a"] * n), xp.exp(-p["b"] * x)

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n, "B": p["b"] * t, "k": (1 - p["g"]) * t}

    def finite(self, d: Array, s: Array) -> Array:
        return (d > 0) | (s > 0)


class TwoSkills(Family):
    name = "two_skills"
    formula = "E + A/N^a + B/(D + q·D')^b + C·N^m/((D' + k·D)/U)^(c·N^r)"
    linear = ("E", "A", "B", "C")
    nonlinear = (
        exponent("a"), exponent("b"), scale("q"), scale("k"), exponent("c"),
        Parameter("m", -1.0, 1.0, (-0.3, 0.3)), Parameter("r", -0.5, 0.5, (-0.1, 0.1)),
    )
    in_units = True
    of_n = frozenset({"A", "a", "m", "r"})

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        common, own = xp.logaddexp(d, p["q"] + s), xp.logaddexp(s, p["k"] + d)
        return (
            xp.ones_like(n), xp.exp(-p["a"] * n), xp.exp(-p["b"] * common),
            xp.exp(p["m"] * n - p["c"] * xp.exp(p["r"] * n) * own),
        )

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n, "B": p["b"] * t, "C": -p["m"] * n, "c": -p["r"] * n}

    def finite(self, d: Array, s: Array) -> Array:
        return (d > 0) | (s > 0)


class Coupled(Family):
    name = "coupled"
    formula = "E + A/N^a + B·N^m/(D/U)^(b·N^r)"
    linear = ("E", "A", "B")
    nonlinear = (
        exponent("a"), exponent("b"), Parameter("m", -1.0, 1.0, (-0.3, 0.3)), Parameter("r", -0.5, 0.5, (-0.1, 0.1)),
    )
    in_units = True
    of_n = frozenset({"A", "a", "m", "r"})
    uses_special = False

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        return xp.ones_like(n), xp.exp(-p["a"] * n), xp.exp(p["m"] * n - p["b"] * xp.exp(p["r"] * n) * d)

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n, "B": -p["m"] * n, "b": -p["r"] * n}

    def finite(self, d: Array, s: Array) -> Array:
        return d > 0


class Hernandez(Family):
    name = "hernandez"
    formula = "E + A/N^a + B/(D' + k·D^g·D'^h·N^m)^b"
    linear = ("E", "A", "B")
    nonlinear = (
        exponent("a"), exponent("b"), scale("k"), exponent("g"),
        Parameter("h", 0.0, 1.0, (0.0, 0.6)), Parameter("m", -2.0, 2.0, (-0.5, 0.5)),
    )
    of_n = frozenset({"A", "a", "m"})

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        transferred = p["k"] + p["g"] * d + p["h"] * s + p["m"] * n
        return xp.ones_like(n), xp.exp(-p["a"] * n), xp.exp(-p["b"] * xp.logaddexp(s, transferred))

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n, "B": p["b"] * t, "k": (1 - p["g"] - p["h"]) * t - p["m"] * n}

    def finite(self, d: Array, s: Array) -> Array:
        return s > 0


class TransferGap(Family):
    name = "transfer_gap"
    formula = "E + A/N^a + (B·D^-b + G)·D'^-c"
    linear = ("E", "A", "B", "G")
    nonlinear = (exponent("a"), exponent("b"), exponent("c"))

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        tuned = xp.exp(-p["c"] * s)
        return xp.ones_like(n), xp.exp(-p["a"] * n), xp.exp(-p["b"] * d) * tuned, tuned

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n, "B": (p["b"] + p["c"]) * t, "G": p["c"] * t}

    def finite(self, d: Array, s: Array) -> Array:
        return (d > 0) & (s > 0)


class Multiplicative(Family):
    name = "multiplicative"
    formula = "E + A·N^-a·D^-b·D'^-c"
    linear = ("E", "A")
    nonlinear = (exponent("a"), exponent("b"), exponent("c"))
    of_n = frozenset({"a"})

    def columns(self, xp: Any, p: Mapping[str, Array], n: Array, d: Array, s: Array) -> tuple[Array, ...]:
        return xp.ones_like(n), xp.exp(-p["a"] * n - p["b"] * d - p["c"] * s)

    def units(self, p: Mapping[str, Array], n: float, t: float) -> dict[str, Array]:
        return {"A": p["a"] * n + (p["b"] + p["c"]) * t}

    def finite(self, d: Array, s: Array) -> Array:
        return (d > 0) & (s > 0)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Chinchilla(), Coupled(), Additive(), EffectiveData(), Adapting(), Blending(), TwoSkills(), Hernandez(),
        TransferGap(), Multiplicative(),
    )
}


def family_named(name: str) -> Family:
    """The family of that name.

    Raises:
        UserError: there is none.
    """
    if name not in FAMILIES:
        raise UserError(f"no law family '{name}'", where="family", mend=did_you_mean(name, [*FAMILIES, "auto"]))
    return FAMILIES[name]


def effective(xp: Any, log_tokens: Array, repeats: Array, log_half_life: Array) -> Array:
    """Log of the tokens that repeated data is worth: U·(1 + R*·(1 - exp(-repeats/R*))), U unique tokens."""
    half_life = xp.exp(log_half_life)
    return log_tokens - xp.log1p(repeats) + xp.log1p(half_life * -xp.expm1(-repeats / half_life))
