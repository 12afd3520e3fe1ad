"""One self-contained HTML page: the answer on the first screen, and below it what it stands on."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

from splitjax.config import Config, read_json, write_atomic
from splitjax.law import LawFit
from splitjax.runs.plan_record import read_plan
from splitjax.runs.run_folder import RunFolder

from . import first_screen, glossary, plan_evidence, router_table, tables, task_table
from .model_table import shown
from .pictures import plots
from .pictures.svg import Picture
from .rendering import render
from .run_status import goodput_of
from .verdict import Verdict, judge


def write(folder: RunFolder, config: Config, after: Mapping[str, Any] | None = None) -> None:
    """Write report.html from what lies in the run folder.

    Args:
        after: the plan that a law with the measured models among its rows would make; None where there is none.

    Raises:
        UserError: the models were not evaluated, or are others now.
    """
    folder.need("evaluate")
    fitted = LawFit.load(folder.law) if folder.belongs("fit") else None
    plan, results = read_plan(folder), read_json(folder.results)
    found = judge(plan, results, fitted, run=str(folder.path))
    page = laid_out(
        config.name, plan, results, found, fitted=fitted,
        law=_law(folder, fitted) if fitted else None, training=plots.loss_curves(folder.phases, results),
        config=folder.config.read_text(encoding="utf-8"), goodput=goodput_of(config, folder), later=after,
    )
    write_atomic(folder.report, page)


def laid_out(
    name: str, plan: Mapping[str, Any], results: Mapping[str, Any], found: Verdict, *, training: Picture, config: str,
    law: Mapping[str, Any] | None = None, fitted: LawFit | None = None, goodput: Mapping[str, Any] | None = None,
    later: Mapping[str, Any] | None = None,
) -> str:
    """The page of plain values.

    Args:
        name: of the run.
        found: the answer.
        training: the picture of the training losses.
        config: that made the run, as YAML.
        law: the law in words and its picture; None without one.
        fitted: the same as it was fitted.
        goodput: where the training time went.
        later: the plan that a law with the measured models among its rows would make.
    """
    return render(
        "page.html", name=name, verdict=found, figures=first_screen.facts(plan, results, found), picks=_picks(plan),
        bars=", ± one standard error over training seeds" if "seeds" in results else "",
        curve=plots.split_curve(plan, results), training=training, law=law, made=results["provenance"],
        versions=_versions(results["provenance"]["versions"]), config=config,
        words=glossary.listed(), **_sections(plan, results, fitted, later), goodput=plan_evidence.goodput(goodput),
    )


def _sections(
    plan: Mapping[str, Any], results: Mapping[str, Any], fitted: LawFit | None, later: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Sections in the order of the page: those before the law, and those after it."""
    before = [
        tables.domains(results), tables.seeds(results), tables.gains(results), router_table.section(results),
        task_table.section(results, shown(results)), tables.facts(plan, results), plan_evidence.costs(results),
        tables.outcome(plan, results), plan_evidence.evidence(plan),
    ]
    after = [
        tables.families(fitted.summary()) if fitted else None, plan_evidence.before_and_after(plan, results, later),
        tables.experts(results, "planned" if "planned" in results["expert_tables"] else "80/20"),
        tables.caveats(plan, results),
    ]
    return {"before": [each for each in before if each], "after": [each for each in after if each]}


def _picks(plan: Mapping[str, Any]) -> dict[str, str]:
    """The split of each family that is combined, in per cent; empty where no law was asked."""
    told = plan["by_family"] if "curve" in plan else {}
    return {name: f"{100 * pick['split_fraction']:.0f}" for name, pick in told.items() if pick["weight"]}


def _law(folder: RunFolder, fitted: LawFit) -> dict[str, Any]:
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
        "picture": plots.law_against_observations(predicted, rows),
    }


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
