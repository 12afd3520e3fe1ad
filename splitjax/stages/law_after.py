"""The law once more with the main run's own models among its rows: what a run says of the law that planned it.

`law.json`, `plan.json` and their records stay as they are: the plan was made before the run, and remains so.
"""

from __future__ import annotations

import csv
import math
from typing import Any

from splitjax import law
from splitjax.config import UserError, read_json
from splitjax.runs.cells import over_seeds
from splitjax.runs.job import Job
from splitjax.runs.plan_record import main_tree, read_plan
from splitjax.runs.run_folder import LAW_AFTER

from .sequence import ask_of, by_first, fit_table, observed


def measured_table(job: Job) -> law.Table:
    """The sweep's rows and those of every model of the main run, of each of its seeds, by their validation losses.

    Diverged losses are left out.
    """
    with open(job.folder.observations, encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    main, known = read_json(job.folder.main), {row["run"] for row in rows}
    by_seed = main.get("seeds", {str(job.config.seed): main["models"]})
    for seed, cells in over_seeds(job.config, main_tree(job)).items():
        for name, cell in cells.items():
            losses = {domain: loss for domain, loss in by_seed[str(seed)][name].items()
                      if loss is not None and math.isfinite(loss)}
            if cell.id not in known:  # two models may be one cell
                rows += observed(job, cell, losses)
                known.add(cell.id)
    return law.Table.from_rows(rows)


@by_first
def run_law_after(job: Job) -> None:
    """observations.csv + main.json → law_after.json."""
    folder = job.folder
    if job.config.sweep is None:
        raise UserError("the config has no sweep, so there is no law to join", where="--with-results")
    folder.need("train")
    inputs = job.part("law", "seed") | {
        "observations": folder.hash_of(folder.observations, "sweep"), "main": folder.hash_of(folder.main, "train"),
    }
    if job.skip_if_done(LAW_AFTER, inputs):
        return
    job.reporter.stage("fit", "with the main run's own models")
    fitted = fit_table(measured_table(job), job.config)
    fitted.save(folder.law_after)
    job.finish(LAW_AFTER, inputs, [folder.law_after], _note(job, fitted), read=[folder.observations, folder.main])


def _note(job: Job, fitted: law.LawFit) -> str:
    before = read_plan(job.folder)
    after = ask_of(job, fitted)
    return f"with the measured models: {_split(after)}; before: {_split(before)}"


def _split(plan: dict[str, Any]) -> str:
    fraction = plan.get("law_split_fraction", plan["split_fraction"])
    low, high = (100 * end for end in plan["interval"])
    return f"best split {100 * fraction:.0f} %, 90 % interval {low:.0f} to {high:.0f} %"
