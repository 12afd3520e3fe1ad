"""Tables made from known laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from splitjax.law import FAMILIES, Fitted, LawFit, Table
from splitjax.law.fitting.form import Form
from splitjax.law.fitting.scale import Reference

SIZES = (3e5, 1e6, 3e6, 1e7)
PRETRAIN = (2e6, 6e6, 2e7, 6e7, 2e8)
SPECIAL = (0.0, 4e5, 2e6, 1e7)
UNIT = float(np.exp(np.mean(np.log([*PRETRAIN * len(SPECIAL), *SPECIAL[1:] * len(PRETRAIN)]))))
"""Geometric mean of the tokens of the default table: families that measure tokens in it are exact there alone."""

TRUTHS: dict[str, dict[str, float]] = {
    "chinchilla": {"E": 1.8, "A": 120, "B": 400, "a": 0.34, "b": 0.33},
    "additive": {"E": 1.5, "A": 120, "B": 120, "C": 60, "a": 0.34, "b": 0.33, "c": 0.32},
    "effective_data": {"E": 1.5, "A": 120, "B": 260, "a": 0.34, "b": 0.33, "k": 1.6, "g": 0.86},
    "adapting": {"E": 1.5, "A": 120, "B": 260, "a": 0.34, "b": 0.33, "k": 0.8, "g": 0.84, "D0": 3e5, "h": 0.3},
    "hernandez": {"E": 1.5, "A": 120, "B": 260, "a": 0.34, "b": 0.33, "k": 0.12, "g": 0.5, "h": 0.4, "m": 0.1},
    "transfer_gap": {"E": 1.5, "A": 120, "B": 1600, "G": 8, "a": 0.34, "b": 0.3, "c": 0.15},
    "multiplicative": {"E": 1.5, "A": 600, "a": 0.12, "b": 0.14, "c": 0.1},
    "coupled": {"E": 1.8, "A": 120, "B": 0.8, "a": 0.34, "b": 0.4, "m": 0.03, "r": -0.03, "U": UNIT},
    "blending": {"E": 1.5, "A": 120, "B": 260, "a": 0.34, "b": 0.33, "k": 1.2, "g": 0.8, "h0": 0.4, "q": 0.1,
                 "U": UNIT},
    "two_skills": {"E": 1.5, "A": 120, "B": 60, "C": 0.4, "a": 0.34, "b": 0.3, "q": 0.4, "k": 0.05, "c": 0.4, "m": 0.02,
                   "r": -0.03, "U": UNIT},
}
"""Public parameters, in parameters and tokens."""


def formula(family: str, p: Mapping[str, float], n: np.ndarray, d: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The formulas as they are written, apart from the package's own columns."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        size = p["A"] / n ** p["a"]
        return {
            "chinchilla": lambda: p["E"] + size + p["B"] / d ** p["b"],
            "additive": lambda: p["E"] + size + p["B"] / d ** p["b"] + p["C"] / s ** p["c"],
            "effective_data": lambda: p["E"] + size + p["B"] / (s + p["k"] * d ** p["g"]) ** p["b"],
            "adapting": lambda: p["E"] + size
            + p["B"] / (s + p["k"] * d ** p["g"] * (1 + s / p["D0"]) ** p["h"]) ** p["b"],
            "hernandez": lambda: p["E"] + size
            + p["B"] / (s + p["k"] * d ** p["g"] * s ** p["h"] * n ** p["m"]) ** p["b"],
            "transfer_gap": lambda: p["E"] + size + (p["B"] * d ** -p["b"] + p["G"]) * s ** -p["c"],
            "multiplicative": lambda: p["E"] + p["A"] * n ** -p["a"] * d ** -p["b"] * s ** -p["c"],
            "coupled": lambda: p["E"] + size + p["B"] * n ** p["m"] / (d / p["U"]) ** (p["b"] * n ** p["r"]),
            "blending": lambda: p["E"] + size + p["B"] / blended(p, d, s) ** p["b"],
            "two_skills": lambda: p["E"] + size + p["B"] / (d + p["q"] * s) ** p["b"]
            + p["C"] * n ** p["m"] / ((s + p["k"] * d) / p["U"]) ** (p["c"] * n ** p["r"]),
        }[family]()


def blended(p: Mapping[str, float], d: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Domain tokens that D and D' are worth together."""
    share = (d / (d + s)) ** (p["h0"] * ((d + s) / p["U"]) ** p["q"])
    return s + d * (1 - share) + p["k"] * d ** p["g"] * share


def grid(sizes: Sequence[float], pretrain: Sequence[float], special: Sequence[float]) -> np.ndarray:
    """All (N, D, D'), [rows, 3]."""
    return np.array([(n, d, s) for n in sizes for d in pretrain for s in special if d + s > 0])


def table(
    family: str,
    *,
    noise: float = 0.0,
    seed: int = 0,
    sizes: Sequence[float] = SIZES,
    pretrain: Sequence[float] = PRETRAIN,
    special: Sequence[float] = SPECIAL,
    domains: Mapping[str, Mapping[str, float]] | None = None,
    truth: Mapping[str, float] | None = None,
) -> Table:
    """Rows of a law with log-normal noise, where the law is finite; `domains` maps a name to changed parameters."""
    rng = np.random.default_rng(seed)
    points = grid(sizes, pretrain, special)
    rows = []
    for domain, changes in (domains or {"": {}}).items():
        p = {**(truth or TRUTHS[family]), **changes}
        for n, d, s in points:
            if not FAMILIES[family].finite(d, s):
                continue
            loss = float(formula(family, p, n, d, s)) * np.exp(noise * rng.normal())
            row = {"n_params": n, "d_pretrain": d, "d_special": s, "loss": loss, "run": f"{n}-{d}-{s}"}
            rows.append(row | ({"domain": domain} if domain else {}))
    return Table.from_rows(rows)


def exact(family: str, p: Mapping[str, float] | None = None, *, draws: int = 0, spread: float = 0.0) -> LawFit:
    """A law whose parameters are known, not fitted; draws scatter its unknowns by `spread`."""
    p = p or TRUTHS[family]
    law_family = FAMILIES[family]
    form = Form(law_family)
    unit = float(np.log(p.get("U", 1.0)))
    factors = law_family.units(p, 0.0, unit)
    logs = {parameter.name for parameter in law_family.nonlinear if parameter.scale or parameter.log}
    values = {name: p[name] / np.exp(factors.get(name, 0.0)) for name in form.names}
    x = np.array([np.log(values[name]) if name in logs else values[name] for name in form.names])
    rng = np.random.default_rng(0)
    scattered = (np.tile(x, (draws, 1)) * np.exp(spread * rng.normal(size=(draws, len(x)))),) if draws else ()
    fitted = Fitted((form,), Reference(0.0, unit), (x,), 80, 0.0, 0.0, 1.0, 1, 1, draws=scattered)
    return LawFit((fitted,), {family: 1.0}, table(family, truth=p), {"loss": "huber", "delta": 1e-3})
