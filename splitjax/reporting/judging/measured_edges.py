"""By how much one compared model is better than another, with its noise, from the gains of results.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitjax.evaluate import perplexity

CLEAR = 2.0
"""Standard errors from which on a difference is told from noise."""
EQUAL = 0.02
"""Models whose tokens differ by a smaller share have equal compute."""


@dataclass(frozen=True)
class Edge:
    """Model A over model B: both as per cent of perplexity, positive where A is better.

    Attributes:
        nats: loss(B) - loss(A).
        value: by how much A's perplexity is below B's, in per cent.
        error: its standard error over test windows; of a difference that was not measured in pairs at most this.
    """

    nats: float
    value: float
    error: float

    @property
    def clear(self) -> int:
        """1 where A is better beyond the noise, -1 where B is, else 0."""
        return 0 if abs(self.value) < CLEAR * self.error or not self.value else int(math.copysign(1, self.value))

    def __str__(self) -> str:
        return f"{abs(self.value):.1f} ± {self.error:.1f} %"


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
    (nats_a, error_a), (nats_b, error_b) = told[a], told[b]  # type: ignore[misc]
    if a == "planned":
        gain = results["gains"][f"planned_vs_{b}"][kind]
        return Edge(gain["nats"], gain["perplexity"], gain["perplexity_error"])
    nats, ratio = nats_b - nats_a, perplexity(nats_a - nats_b)
    return Edge(nats, 100 * (1 - ratio), 100 * ratio * math.hypot(error_a, error_b))


def _over_planned(results: Mapping[str, Any], name: str, kind: str) -> tuple[float, float] | None:
    """Nats by which the planned model is better than this one, and their error."""
    if name == "planned":
        return 0.0, 0.0
    gain = results["gains"].get(f"planned_vs_{name}", {}).get(kind)
    return None if gain is None or None in gain.values() else (gain["nats"], gain["error"])


def splits(results: Mapping[str, Any]) -> dict[str, float]:
    """Compared models whose loss is a number → their split fraction; without the one of another budget."""
    return {
        name: model["fraction"] for name, model in results["models"].items()
        if "fraction" in model and name != "dense_equal_compute"
        and model["after_prefix"]["routed"]["mean"] is not None and edge(results, name, "planned") is not None
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
