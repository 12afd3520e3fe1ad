"""Where to split: one range from the law and from what was measured, which never contradict each other in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .measured_edges import edge, routed_loss, splits


@dataclass(frozen=True)
class Where:
    """The best split in words, and its range; None where no law was asked."""

    text: str
    low: float | None = None
    high: float | None = None


def best_split(plan: Mapping[str, Any], results: Mapping[str, Any], *, pays: bool) -> Where:
    """The law's 90 % interval, cut or widened by what was measured.

    A measured split that is better than the planned one beyond the noise cuts the range: the best lies between the
    measured splits beside it. One that is better within the noise only widens it.

    Args:
        pays: whether splitting does; if not, that this is only where it would cost least is said.
    """
    at = splits(results)
    of_splits = [name for name in at if at[name] < 1 or at.get("planned") == 1]  # whether to split is said elsewhere
    least = min(of_splits, key=lambda name: routed_loss(results, name) or float("inf"), default="")
    measured = [f"measured: {100 * at[least]:.0f} %{_by_seed(results)}"] if len(set(at.values())) > 1 else []
    if "interval" not in plan:
        return Where(f"The split was set to {_share(plan['split_fraction'])}"
                     f"{'; lowest loss ' + measured[0] if measured else ''}.")
    pick = plan.get("law_split_fraction", plan["split_fraction"])
    low, high = min(plan["interval"][0], pick), max(plan["interval"][1], pick)
    name, kind = _rival_split(results) or ("", "")
    moved = kind == "routed"
    if moved:
        low, high = _cut(low, high, at[name], list(at.values()))
    for other in {least, "" if moved else name} - {""}:
        low, high = min(low, at[other]), max(high, at[other])
    told = f"({'; '.join([f'law: {100 * pick:.0f} %{_doubt(plan)}', *measured])})"
    set_to = f" The config set it to {_share(plan['split_fraction'])}." if plan["decision"] == "explicit" else ""
    if plan["decision"] == "undetermined" and not moved:
        return Where(f"Where is not known: {_range(low, high)} of the budget before the split {told}.{set_to}",
                     low, high)
    start = "Best split" if pays or low == 1 else "Best split, if any:"
    return Where(f"{start} {_range(low, high)} {told}.{set_to}", low, high)


def _by_seed(results: Mapping[str, Any]) -> str:
    """The best measured split of each training seed: the same in all, or their mean."""
    told = results.get("seeds", {}).get("best_split")
    if told is None or told["mean"] is None:
        return ""
    if len(set(told["by_seed"])) == 1:
        return f", in each of {len(told['by_seed'])} seeds"
    return f", over seeds {100 * told['mean']:.0f} ± {100 * told['error']:.0f} %"


def blame(plan: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """A measured split that was better than the planned one beyond the noise is said, not hidden."""
    found = _rival_split(results)
    if found is None:
        return []
    name, kind = found
    at, words = splits(results), " with the label known" if kind == "oracle" else ""
    return [f"A split at {100 * at[name]:.0f} % was better than the planned {100 * at['planned']:.0f} % by "
            f"{edge(results, 'planned', name, kind)}{words}{_of_law(plan, at[name])}."]


def missed(plan: Mapping[str, Any], results: Mapping[str, Any]) -> bool:
    """Whether a measured split was better, beyond the noise, than one that the law had picked."""
    return plan["decision"] != "explicit" and _rival_split(results) is not None


def _rival_split(results: Mapping[str, Any]) -> tuple[str, str] | None:
    """The best of the measured splits that are better than the planned one beyond the noise, and by which measure."""
    at = splits(results)
    for kind in ("routed", "oracle") if "planned" in at else ():
        found = {name: over for name, fraction in at.items()
                 if fraction not in (at["planned"], 1.0)
                 and (over := edge(results, name, "planned", kind)) and over.clear > 0}
        if found:
            return max(found, key=lambda each: found[each].nats), kind
    return None


def _of_law(plan: Mapping[str, Any], fraction: float) -> str:
    """What the law had to say of a split that did better: nothing, that it might, or that it would not."""
    if plan["decision"] == "explicit" or "flat_region" not in plan:
        return ""
    low, high = plan["flat_region"]
    return ": the law could not tell the two" if low <= fraction <= high else ": the law missed it"


def _doubt(plan: Mapping[str, Any]) -> str:
    """The baseline that is better than the law's pick in most of its draws."""
    beaten = {name: each["beaten"] for name, each in plan["baselines"].items() if each["beaten"] is not None}
    if plan["decision"] != "beaten" or not beaten:
        return ""
    name = min(beaten, key=lambda each: beaten[each])
    words = {"dense": "one model", "dense_equal_compute": "one model of equal compute",
             "split_at_0": "a split at the start"}
    return f", but {words.get(name, name)} is better in {100 * (1 - beaten[name]):.0f} % of its draws"


def _cut(low: float, high: float, at: float, measured: list[float]) -> tuple[float, float]:
    """The part of the law's interval between the measured neighbours of the best one; both where it has none."""
    below = max((each for each in measured if each < at), default=0.0)
    above = min((each for each in measured if each > at), default=1.0)
    cut = max(low, below), min(high, above)
    return cut if cut[0] <= at <= cut[1] else (below, above)


def _share(fraction: float) -> str:
    corner = {1.0: ", one model", 0.0: ", from the start"}.get(fraction, "")
    return f"{100 * fraction:.0f} %{corner}"


def _range(low: float, high: float) -> str:
    first, last = f"{100 * low:.0f}", f"{100 * high:.0f}"
    return _share(low) if first == last else f"{first} to {last} %"
