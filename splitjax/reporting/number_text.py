"""Measured figures as text: what a diverged model leaves is no number, and says so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

DIVERGED = "diverged"


def figure(value: float | None, form: str = ".3f") -> str:
    """A figure of results.json, where NaN and infinity are null."""
    return DIVERGED if value is None or not math.isfinite(value) else format(value, form)


def least(values: Iterable[float | None]) -> float | None:
    """The smallest that is a number."""
    return min((value for value in values if value is not None and math.isfinite(value)), default=None)


def diverged(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Model → the domains on which its loss is no number, of those that have some."""
    found = {
        name: [domain for domain, loss in zip(results["domains"], model["test"]["domains"], strict=True)
               if figure(loss) == DIVERGED]
        for name, model in results["models"].items()
    }
    return {name: domains for name, domains in found.items() if domains}


def of_first_seed(results: Mapping[str, Any]) -> str:
    """Of which training seed what is measured of one alone is, as the rest of a title; "" where there is one."""
    seeds = results.get("seeds", {}).get("seeds", ())
    return f", training seed {seeds[0]} of {len(seeds)}" if seeds else ""


def diverged_seeds(results: Mapping[str, Any]) -> list[str]:
    """Models whose loss is no number with a further training seed, in words; `diverged` tells of the first."""
    told = results.get("seeds", {"seeds": (), "models": {}})
    return [
        f"{name} with seed {seed}" for name, model in told["models"].items()
        for seed, loss in list(zip(told["seeds"], model["oracle"]["by_seed"], strict=True))[1:]
        if figure(loss) == DIVERGED
    ]
