"""plan.json as the stages after it read it: the split, and the cells of the main run that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import UserError, read_record
from splitjax.parallel import hosts

from .cells import main_cells
from .job import Job
from .phase_tree import Cell
from .run_folder import FORMAT, RunFolder

_NAMED = 12
"""Domains of a mixture that are told."""


class _Plan(TypedDict):
    split_fraction: Annotated[float, Field(ge=0, le=1)]
    decision: str
    accounting: str
    tokens: int
    experts: int


def read_plan(folder: RunFolder) -> dict[str, Any]:
    """plan.json.

    Raises:
        UserError: there is none, so nothing says where to split, or it is of another config or law.
    """
    if not folder.plan.exists():
        raise UserError(
            "no plan", where=str(folder.plan), mend="Run 'splitjax plan' first, or give an explicit split=."
        )
    told = parse_plan(folder)
    folder.need("plan")
    return told


def parse_plan(folder: RunFolder) -> dict[str, Any]:
    """plan.json as it lies there, whether it belongs to this run or not.

    Raises:
        UserError: missing, damaged or of another format.
    """
    return read_record(folder.plan, "a plan", {"format": FORMAT}, "Make it anew with --redo plan.", _Plan)


def plan_note(plan: dict[str, Any]) -> str:
    """The decision in a few words."""
    note = f"{plan['decision']}: D = {100 * plan['split_fraction']:.0f} % of {plan['tokens']:,} tokens"
    if plan.get("interval"):
        note += f", 90 % interval {100 * plan['interval'][0]:.0f}–{100 * plan['interval'][1]:.0f} %"
    if (told := plan.get("mixture")) and told["by"] != "tokens":
        note += f"; {mixture_note(told)}"
    return note


def mixture_note(told: Mapping[str, Any]) -> str:
    """What the trunk is trained on, its largest domains first."""
    by = {"tokens": "by the domains' tokens", "source": "as the source declares"}.get(told["by"], f"by {told['by']}")
    shares = sorted(told["shares"].items(), key=lambda each: -each[1])
    words = [f"{name} {100 * share:.3g} %" if share else f"{name} not at all" for name, share in shares[:_NAMED]]
    more = f" and {len(shares) - _NAMED} more" if len(shares) > _NAMED else ""
    return f"the trunk's mixture, {by}: {', '.join(words)}{more}"


def main_tree(job: Job) -> dict[str, Cell]:
    """The main run's cells, by the plan on disk."""
    plan = hosts.from_first(lambda: read_plan(job.folder))
    return main_cells(job.config, job.clock, plan["split_fraction"])
