"""What the training seed changes: losses, gains and the best measured split of every seed, with standard errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from splitjax import evaluate as scoring

from .router_choice import Measured

Losses = Mapping[str, np.ndarray]
"""By measure ("routed", "oracle_after_prefix", "oracle"): test losses (M domains, W windows), nats a token."""


def losses_of(one: Measured) -> dict[str, np.ndarray]:
    """What is kept of a set of models: of each measure that gains are told by."""
    return {
        "routed": one.routed.loss_MW,
        "oracle_after_prefix": one.scores.oracle_MW(whole=False),
        "oracle": one.scores.oracle_MW(),
    }


def over_seeds(by_seed: Mapping[int, Mapping[str, Losses]], fractions: Mapping[str, float]) -> dict[str, Any]:
    """What results.json tells of the seeds; two or more, all on the same windows.

    Args:
        by_seed: of each seed every model by name; "planned" is among them.
        fractions: of the budget before the split, of the compared models that spend the same budget.

    Returns:
        ``{seeds, models: {name: {measure: {by_seed, mean, error}}}, gains: {planned_vs_name: {measure: {by_seed (nats),
        nats, error, perplexity, perplexity_error, seeds_error, perplexity_seeds_error}}}, best_split: {by_seed, mean,
        error}}``. `error` and `perplexity_error` of gains are over windows, of the mean over seeds; all others are
        standard errors over seeds.
    """
    runs = list(by_seed.values())
    models = {
        name: {kind: spread([float(run[name][kind].mean()) for run in runs]) for kind in losses}
        for name, losses in runs[0].items()
    }
    gains = {
        f"planned_vs_{name}": {kind: _gain([run["planned"][kind] for run in runs], [run[name][kind] for run in runs])
                               for kind in runs[0][name]}
        for name in runs[0] if name not in ("planned", "seed")
    }
    best = [_best({name: float(run[name]["routed"].mean()) for name in fractions}, fractions) for run in runs]
    return {"seeds": list(by_seed), "models": models, "gains": gains, "best_split": spread(best)}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """A figure of each seed, their mean and its standard error."""
    mean, error = scoring.mean_and_error(values)
    return {"by_seed": list(map(float, values)), "mean": mean, "error": error}


def _gain(planned: list[np.ndarray], rival: list[np.ndarray]) -> dict[str, Any]:
    """Of the mean over seeds: its noise over windows, which all seeds share, and its noise over seeds."""
    told = scoring.gain(np.mean(planned, axis=0), np.mean(rival, axis=0))
    nats = [float(other.mean() - own.mean()) for own, other in zip(planned, rival, strict=True)]
    error = scoring.mean_and_error(nats)[1]
    ratio = scoring.perplexity(-told.nats)
    return told.to_json() | {"by_seed": nats, "seeds_error": error, "perplexity_seeds_error": 100 * ratio * error}


def _best(losses: Mapping[str, float], fractions: Mapping[str, float]) -> float:
    """The split of the least loss; NaN where all diverged.

    Whether one model is better than a split is another question, unless the plan is to keep one.
    """
    found = {
        name: loss for name, loss in losses.items()
        if np.isfinite(loss) and (fractions[name] < 1 or fractions["planned"] == 1)
    }
    return fractions[min(found, key=lambda name: found[name])] if found else float("nan")
