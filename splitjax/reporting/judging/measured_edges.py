"""By how much one compared model is better than another, with its noise, from the gains of results.json."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtrit

from splitjax.evaluate import mean_and_error, perplexity

CLEAR = 2.0
"""Standard errors over windows from which on a difference is told from noise."""
SURE = 0.975
"""Quantile of Student's t that takes its place over training seeds, which are few: 95 % lie between both ends."""
EQUAL = 0.02
"""Models whose tokens differ by a smaller share have equal compute."""


@dataclass(frozen=True)
class Edge:
    """Model A over model B: both as per cent of perplexity, positive where A is better.

    Attributes:
        nats: loss(B) - loss(A); the mean over training seeds, where there are several.
        value: by how much A's perplexity is below B's, in per cent.
        error: its standard error over test windows; of a difference that was not measured in pairs at most this.
        over_seeds: its standard error over training seeds; None where there is one.
        seeds: how many there are.
    """

    nats: float
    value: float
    error: float
    over_seeds: float | None = None
    seeds: int = 1

    @property
    def clear(self) -> int:
        """1 where A is better beyond the noise, -1 where B is, else 0."""
        noise = CLEAR * self.error
        if self.over_seeds is not None:
            noise = math.hypot(noise, student(self.seeds) * self.over_seeds)
        return 0 if abs(self.value) < noise or not self.value else int(math.copysign(1, self.value))

    @property
    def spread(self) -> str:
        """Its errors: over windows, and over seeds where there are several."""
        return f"± {self.error:.1f}" + ("" if self.over_seeds is None else f" ± {self.over_seeds:.1f}")

    def __str__(self) -> str:
        if self.over_seeds is None:
            return f"{abs(self.value):.1f} {self.spread} %"
        return f"{abs(self.value):.1f} ± {self.error:.1f} (windows) ± {self.over_seeds:.1f} (seeds) %"


def student(seeds: int) -> float:
    """Standard errors over so many training seeds from which on a mean is told from noise, by Student's t."""
    return float(stdtrit(seeds - 1, SURE))


def edge(results: Mapping[str, Any], a: str, b: str, kind: str = "routed") -> Edge | None:
    """Model `a` over model `b`; None where one of them diverged or was not compared with the planned one.

    Args:
        kind: "routed", "oracle" or "oracle_after_prefix", as in results.json.
    """
    if a == b:
        return Edge(0.0, 0.0, 0.0)
    told = {name: _over_planned(results, name, kind) for name in (a, b)}
    if None in told.values():
        return None
    (nats_a, error_a, seeds_a), (nats_b, error_b, seeds_b) = told[a], told[b]  # type: ignore[misc]
    nats, ratio, count = nats_b - nats_a, perplexity(nats_a - nats_b), max(len(seeds_a), len(seeds_b))
    over_seeds = None
    if count > 1:
        zero = [0.0] * count  # the planned model over itself
        each = [of_b - of_a for of_a, of_b in zip(seeds_a or zero, seeds_b or zero, strict=True)]
        over_seeds = 100 * ratio * mean_and_error(each)[1]
    if a == "planned":
        gain = gains(results)[f"planned_vs_{b}"][kind]
        return Edge(gain["nats"], gain["perplexity"], gain["perplexity_error"], over_seeds, max(1, count))
    return Edge(nats, 100 * (1 - ratio), 100 * ratio * math.hypot(error_a, error_b), over_seeds, max(1, count))


def gains(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the planned model over the others; means over training seeds, where there are several."""
    found: Mapping[str, Any] = results.get("seeds", results)["gains"]
    return found


def routed_loss(results: Mapping[str, Any], name: str) -> float | None:
    """Test loss of a model under its router; the mean over training seeds; None where it diverged."""
    model = results["models"][name]
    return _mean(results, name, "routed", lambda: model["after_prefix"]["routed"]["mean"])


def validation_loss(results: Mapping[str, Any], name: str) -> float | None:
    """The same on validation, label known; None also where there is no such model, or it was not measured so."""
    if "validation" not in (model := results["models"].get(name, {})):
        return None
    return _mean(results, name, "validation", lambda: model["validation"]["mean"])


def _mean(results: Mapping[str, Any], name: str, kind: str, alone: Callable[[], float | None]) -> float | None:
    """Over training seeds; of a run with one its own figure."""
    over_seeds = results.get("seeds")
    mean: float | None = over_seeds["models"][name][kind]["mean"] if over_seeds else alone()
    return mean


def _over_planned(
    results: Mapping[str, Any], name: str, kind: str
) -> tuple[float, float, Sequence[float]] | None:
    """Nats by which the planned model is better than this one, their error over windows, and those of each seed."""
    if name == "planned":
        return 0.0, 0.0, ()
    gain = gains(results).get(f"planned_vs_{name}", {}).get(kind)
    return None if gain is None or None in gain.values() else (gain["nats"], gain["error"], gain.get("by_seed", ()))


def one_model(results: Mapping[str, Any]) -> str:
    """The dense model that experts are held against: that of equal compute, where accounting makes it another."""
    return "dense_equal_compute" if "dense_equal_compute" in results["models"] else "dense"


def splits(results: Mapping[str, Any]) -> dict[str, float]:
    """Compared models whose loss is a number → their split fraction; without the one of another budget."""
    return {
        name: model["fraction"] for name, model in results["models"].items()
        if "fraction" in model and name != "dense_equal_compute"
        and routed_loss(results, name) is not None and edge(results, name, "planned") is not None
    }


def champion(results: Mapping[str, Any]) -> str:
    """The experts to hold against one model: the planned ones, or others that are better than them beyond the noise.

    Where the plan keeps one model, the best of the other splits. "" where nothing was split, or all diverged.
    """
    found = splits(results)
    experts = {name: over for name, at in found.items() if at < 1 and (over := edge(results, name, "planned"))}
    if not experts:
        return ""
    best = max(experts, key=lambda name: experts[name].nats)
    return best if "planned" not in experts or experts[best].clear > 0 else "planned"


def compute(results: Mapping[str, Any], a: str, b: str) -> str:
    """How the training compute of two models of one size compares, in words."""
    ratio = results["models"][a]["tokens"] / results["models"][b]["tokens"]
    return "at equal compute" if abs(ratio - 1) < EQUAL else f"with {ratio:.1f} times the compute"
