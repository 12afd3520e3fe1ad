"""The plan of the main run: where to split, made before it starts, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitjax import law
from splitjax.config import Config, hash_file
from splitjax.model import n_params
from splitjax.runs import provenance
from splitjax.runs.cells import Clock, budget_tokens, explicit_fraction, seed_tokens, unique_tokens
from splitjax.runs.run_folder import FORMAT


def make_plan(config: Config, clock: Clock, sizes: Mapping[str, int], law_path: Path | None) -> dict[str, Any]:
    """The split of the main run with its evidence.

    The law's pick is used unless the config gives an explicit `split`; where a law was fitted, its
    pick is recorded beside the explicit one.

    Args:
        sizes: train tokens, by domain.
    """
    tokens, size = budget_tokens(config), n_params(config.model)
    plan: dict[str, Any] = {}
    if law_path is not None:
        fitted = law.LawFit.load(law_path)
        before = seed_tokens(config)
        plan |= ask(config, clock, sizes, fitted)
        held_out = fitted.heldout
        plan |= {
            "law": {"path": law_path.name, "hash": hash_file(law_path)},
            "outside_fit": _outside(fitted, size, before + tokens, plan["d_special"]),
            "held_out": held_out.to_json() if held_out else None,
        }
    plan |= {"format": FORMAT, "made": provenance.now(), "n_params": size, "tokens": tokens,
             "experts": clock.experts, "accounting": config.budget.accounting}
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


def ask(config: Config, clock: Clock, sizes: Mapping[str, int], fitted: law.LawFit) -> dict[str, Any]:
    """What a law says of the main run's budget, as `SplitPlan.to_json` has it."""
    return law.plan(
        fitted, n_params=n_params(config.model), tokens=budget_tokens(config), experts=clock.experts,
        accounting=config.budget.accounting, before=seed_tokens(config), **unique_tokens(config, sizes),
    ).to_json()


def _outside(fitted: law.LawFit, n_params: int, tokens: int, d_special: int) -> dict[str, float]:
    """How far N, T and D' lie beyond the largest fitted N, the longest fitted path and D' (1 or less: inside)."""
    asked = {"n_params": n_params, "tokens": tokens, "d_special": d_special}
    return {name: value / fitted.ranges[name][1] for name, value in asked.items() if name in fitted.ranges}
