"""plan.json: the decision before the main run, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax import law
from splitjax.config import Config, UserError, hash_file, read_record
from splitjax.model import n_params
from splitjax.parallel import hosts

from . import provenance
from .cells import Clock, budget_tokens, explicit_fraction, main_cells, seed_tokens, unique_tokens
from .folder import FORMAT, RunFolder
from .job import Job
from .tree import Cell


class _Plan(TypedDict):
    split_fraction: Annotated[float, Field(ge=0, le=1)]
    decision: str
    accounting: str
    tokens: int
    experts: int


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
        accounting, before = config.budget.accounting, seed_tokens(config)
        plan |= law.plan(
            fitted, n_params=size, tokens=tokens, experts=clock.experts, accounting=accounting, before=before,
            **unique_tokens(config, sizes),
        ).to_json()
        held_out = fitted.chosen.heldout
        plan |= {
            "law": {"path": law_path.name, "hash": hash_file(law_path)},
            "outside_fit": _outside(fitted, size, before + tokens),
            "held_out": held_out.to_json() if held_out else None,
        }
    plan |= {"format": FORMAT, "made": provenance.now(), "n_params": size, "tokens": tokens,
             "experts": clock.experts, "accounting": config.budget.accounting}  # fmt: skip
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


def _outside(fitted: law.LawFit, n_params: int, tokens: int) -> dict[str, float]:
    """How far N and T lie beyond the largest fitted N and the longest fitted path (1 or less: inside)."""
    return {"n_params": n_params / fitted.ranges["n_params"][1], "tokens": tokens / fitted.ranges["tokens"][1]}


def read_plan(folder: RunFolder) -> dict[str, Any]:
    """plan.json.

    Raises:
        UserError: there is none, so nothing says where to split.
    """
    if not folder.plan.exists():
        raise UserError(
            "no plan", where=str(folder.plan), mend="Run 'splitjax plan' first, or give an explicit split=."
        )
    return read_record(folder.plan, "a plan", {"format": FORMAT}, "Make it anew with --redo plan.", _Plan)


def plan_note(plan: dict[str, Any]) -> str:
    """The decision in a few words."""
    note = f"{plan['decision']}: D = {100 * plan['split_fraction']:.0f} % of {plan['tokens']:,} tokens"
    if plan.get("interval"):
        note += f", 90 % interval {100 * plan['interval'][0]:.0f}–{100 * plan['interval'][1]:.0f} %"
    return note


def main_tree(job: Job) -> dict[str, Cell]:
    """The main run's cells, by the plan on disk."""
    plan = hosts.from_first(lambda: read_plan(job.folder))
    return main_cells(job.config, job.clock, plan["split_fraction"])
