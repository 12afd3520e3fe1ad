"""The four figures beside the curve: where, against one model, against the customary split, and the law's own error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitjax.evaluate import perplexity

from .judging.measured_edges import Edge, champion, compute, edge, one_model, routed_loss, validation_loss
from .number_text import figure
from .verdict import Verdict


@dataclass(frozen=True)
class Fact:
    """A figure with what it is of, and a few words below."""

    name: str
    value: str
    note: str


def facts(plan: Mapping[str, Any], results: Mapping[str, Any], found: Verdict) -> list[Fact]:
    """The figures of the first screen."""
    best = champion(results) or "planned"
    where = found.where.partition(" (")[2].partition(")")[0]
    span = "–" if found.low is None or found.high is None else _span(found.low, found.high)
    against = [_against("Perplexity against one model", results, best, one_model(results)),
               _against("Perplexity against 80/20", results, best, "80/20")]
    if results["models"]["planned"]["fraction"] == 1:  # held against the best split instead
        against = [_against("One model against the best split", results, "planned", best), _perplexity(results)]
    return [
        Fact("Best split, share of the budget", span if where else f"{100 * plan['split_fraction']:.0f} %",
             where or "set by the config"),
        *against, _law(plan, results),
    ]


def _span(low: float, high: float) -> str:
    first, last = f"{100 * low:.0f}", f"{100 * high:.0f}"
    return f"{first} %" if first == last else f"{first}–{last} %"


def _against(name: str, results: Mapping[str, Any], best: str, rival: str) -> Fact:
    if rival not in results["models"] or best == rival:
        return Fact(name, "–", "the same model")
    found: Edge | None = edge(results, best, rival)
    if found is None:
        return Fact(name, "–", "diverged")
    side = {1: "better", -1: "worse", 0: "within the noise"}[found.clear]
    at = {name: results["models"][name]["fraction"] for name in (best, rival)}
    other = next((name for name in (best, rival) if at[name] < 1), "planned")
    who = "" if other == "planned" or other == rival == "80/20" else f" (split at {100 * at[other]:.0f} %)"
    value = f"{-found.value:+.1f} {found.spread} %".replace("-", "−")
    which = "" if found.over_seeds is None else "; ± over windows, ± over seeds"
    return Fact(name, value, f"{side}, {compute(results, best, rival)}{who}{which}")


def _perplexity(results: Mapping[str, Any]) -> Fact:
    loss = routed_loss(results, "planned")
    return Fact("Test perplexity, routed", figure(None if loss is None else perplexity(loss), ".1f"),
                "of the planned model")


def _law(plan: Mapping[str, Any], results: Mapping[str, Any]) -> Fact:
    """What was promised of the planned model's validation loss, where a law was asked of that split."""
    measured = validation_loss(results, "planned")
    if "predicted_loss" not in plan or plan["decision"] == "explicit" or measured is None:
        return _perplexity(results)
    off = f"{100 * (plan['predicted_loss'] / measured - 1):+.1f} %".replace("-", "−")
    told = f"predicted {plan['predicted_loss']:.3f}, measured {measured:.3f}"
    return Fact("The law's error at its split", f"{off} of the loss", told)
