"""One self-contained HTML page: verdict, split curve, tables, law, costs, provenance."""

from __future__ import annotations

import base64
import csv
from collections.abc import Mapping
from typing import Any

from splitjax import law
from splitjax.config import Config, read_json, write_atomic
from splitjax.runs.plan_record import read_plan
from splitjax.runs.run_folder import RunFolder

from . import law_after, plan_evidence, plots, router_table, tables, task_table
from .model_table import shown
from .rendering import render
from .run_status import goodput_of
from .verdict import headline


def write(folder: RunFolder, config: Config, after: Mapping[str, Any] | None = None) -> None:
    """Write report.html from what lies in the run folder.

    Args:
        after: the plan that a law with the measured models among its rows would make; None where there is none.

    Raises:
        UserError: the models were not evaluated, or are others now.
    """
    folder.need("evaluate")
    plan, results = read_plan(folder), read_json(folder.results)
    fitted = law.LawFit.load(folder.law) if folder.belongs("fit") else None
    page = render(
        "page.html", name=config.name, verdict=headline(plan, results), picks=_picks(plan),
        curve=_text(plots.split_curve(plan, results)),
        training=_text(plots.loss_curves(folder.phases, results)),
        law=_law(folder, fitted) if fitted else None,
        made=results["provenance"], versions=_versions(results["provenance"]["versions"]),
        **_sections(plan, results, fitted), law_after=law_after.section(plan, results, after),
        goodput=plan_evidence.goodput(goodput_of(config, folder)),
    )
    write_atomic(folder.report, page)


def _sections(plan: Mapping[str, Any], results: Mapping[str, Any], fitted: law.LawFit | None) -> dict[str, Any]:
    """Sections by their place on the page."""
    beside = [tables.gains(results), tables.facts(plan, results), tables.outcome(plan, results)]
    return {
        "domains": tables.domains(results),
        "beside": [*beside, tables.families(fitted.summary()) if fitted else None],
        "below": [
            router_table.section(results), task_table.section(results, shown(results)), tables.caveats(plan, results),
        ],
        "evidence": plan_evidence.evidence(plan),
        "experts": tables.experts(results, "planned" if "planned" in results["expert_tables"] else "80/20"),
        "costs": plan_evidence.costs(results),
    }


def _picks(plan: Mapping[str, Any]) -> dict[str, str]:
    """The split of each family that is combined, in per cent; empty where no law was asked."""
    told = plan["by_family"] if "curve" in plan else {}
    return {name: f"{100 * pick['split_fraction']:.0f}" for name, pick in told.items() if pick["weight"]}


def _law(folder: RunFolder, fitted: law.LawFit) -> dict[str, Any]:
    """The law in words, and its picture."""
    with open(folder.observations, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    predicted = [
        fitted.predict(float(r["n_params"]), float(r["d_pretrain"]), float(r["d_special"]), domain=r["domain"])
        for r in rows
    ]
    return {
        "family": fitted.family, "formula": fitted.chosen.formula, "rows": len(rows),
        "drawn": sum(value != float("inf") for value in predicted),
        "png": _text(plots.law_against_observations(predicted, rows)),
    }


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _text(png: bytes) -> str:
    return base64.b64encode(png).decode()
