"""The plan of the main run: where to split, made before it starts, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitjax import law
from splitjax.config import Config, hash_file
from splitjax.model import n_params
from splitjax.runs import provenance
from splitjax.runs.cells import (
    Clock,
    budget_tokens,
    explicit_fraction,
    mixture_shares,
    seed_tokens,
    unique_tokens,
)
from splitjax.runs.run_folder import FORMAT


def make_plan(
    config: Config, clock: Clock, sizes: Mapping[str, int], law_path: Path | None,
    declared: Sequence[float] | None = None,
) -> dict[str, Any]:
    """The split of the main run with its evidence.

    The law's pick is used unless the config gives an explicit `split`; where a law was fitted, its
    pick is recorded beside the explicit one.

    Args:
        sizes: train tokens, by domain.
        declared: weights of the mixture that the source declares, in the order of `sizes`.
    """
    tokens, size = budget_tokens(config), n_params(config.model)
    plan: dict[str, Any] = {}
    if law_path is not None:
        fitted = law.LawFit.load(law_path)
        before = seed_tokens(config)
        plan |= ask(config, clock, sizes, fitted, declared)
        held_out = fitted.heldout
        plan |= {
            "law": {"path": law_path.name, "hash": hash_file(law_path)},
            "outside_fit": _outside(fitted, size, before + tokens, plan["d_special"]),
            "held_out": held_out.to_json() if held_out else None,
            "before": before,
        }
    plan |= {"format": FORMAT, "made": provenance.now(), "n_params": size, "tokens": tokens,
             "experts": clock.experts, "accounting": config.budget.accounting,
             "mixture": _mixture(config, sizes, declared)}
    explicit = explicit_fraction(config)
    if explicit is not None:
        plan |= {
            "law_split_fraction": plan.get("split_fraction"),
            "split_fraction": explicit,
            "decision": "explicit",
        }
    pretrain, special = clock.split(clock.budget(tokens), plan["split_fraction"])
    plan |= {"d_pretrain": pretrain * clock.tokens_per_step, "d_special": special * clock.tokens_per_step}
    return plan


def ask(
    config: Config, clock: Clock, sizes: Mapping[str, int], fitted: law.LawFit,
    declared: Sequence[float] | None = None,
) -> dict[str, Any]:
    """What a law says of the main run's budget, as `SplitPlan.to_json` has it."""
    return law.plan(
        fitted, n_params=n_params(config.model), tokens=budget_tokens(config), experts=clock.experts,
        accounting=config.budget.accounting, before=seed_tokens(config),
        **unique_tokens(config, sizes, declared),
    ).to_json()


def _mixture(config: Config, sizes: Mapping[str, int], declared: Sequence[float] | None) -> dict[str, Any]:
    """What the trunk is trained on: shares by domain, and whose word they are."""
    by = "train.mixture" if config.train.mixture else "source" if declared else "tokens"
    return {"by": by, "shares": mixture_shares(config, sizes, declared)}


def _outside(fitted: law.LawFit, n_params: int, tokens: int, d_special: int) -> dict[str, float]:
    """How far N, T and D' lie beyond the largest fitted N, the longest fitted path and D' (1 or less: inside)."""
    asked = {"n_params": n_params, "tokens": tokens, "d_special": d_special}
    return {name: value / fitted.ranges[name][1] for name, value in asked.items() if name in fitted.ranges}
