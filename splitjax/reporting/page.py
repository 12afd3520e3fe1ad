"""One self-contained HTML page: verdict, split curve, tables, law, costs, provenance."""

from __future__ import annotations

import base64
import csv
from collections.abc import Mapping
from html import escape
from typing import Any

from splitjax import law
from splitjax.config import Config, read_json, write_atomic
from splitjax.runs.plan_record import read_plan
from splitjax.runs.run_folder import RunFolder

from . import plan_evidence, plots, router_table, tables, task_table
from .model_table import shown
from .run_status import goodput_of
from .verdict import headline

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; max-width: 76rem; margin: 1rem auto; padding: 0 1rem; }
h1 { font-size: 1rem; color: #57606a; font-weight: 600; margin: 0 0 .3rem; }
h2 { font-size: 1.05rem; margin: 1.2rem 0 .3rem; }
.verdict { font-size: 1.2rem; font-weight: 600; line-height: 1.35; margin: .2rem 0 .8rem; }
.first { display: grid; grid-template-columns: minmax(0, 11fr) minmax(0, 9fr); gap: 0 2rem; }
.first h2:first-child { margin-top: .2rem; }
@media (max-width: 60rem) { .first { grid-template-columns: 1fr; } }
table { border-collapse: collapse; margin: .4rem 0; font-variant-numeric: tabular-nums; font-size: .92em; }
th, td { padding: .12rem .6rem; border-bottom: 1px solid #e5e7eb; text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #9aa4b0; }
tr.part td { color: #57606a; font-style: italic; border-bottom: 0; padding-top: .4rem; }
tr.mean td { font-weight: 600; border-top: 1px solid #9aa4b0; }
td.best { background: #e8f3ec; }
img { max-width: 100%; height: auto; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
p.note, li { color: #3d444d; } code { background: #f3f4f6; padding: 0 .25rem; overflow-wrap: anywhere; }
"""


def write(folder: RunFolder, config: Config) -> None:
    """Write report.html from what lies in the run folder."""
    plan, results = read_plan(folder), read_json(folder.results)
    fitted = law.LawFit.load(folder.law) if folder.law.exists() else None
    spent = goodput_of(config, folder)
    curve = _image(plots.split_curve(plan, results), "Predicted and measured loss over the split fraction")
    left = [curve, _key(plan), tables.domains(results)]
    right = [tables.gains(results), tables.facts(plan, results), tables.outcome(plan, results)]
    right += [tables.families(fitted.summary()) if fitted else "", tables.provenance(results)]
    body = [
        f"<h1>splitjax · {escape(config.name)}</h1>",
        f'<p class="verdict">{escape(headline(plan, results))}</p>',
        f'<div class="first"><div>{"".join(left)}</div><div>{"".join(right)}</div></div>',
        router_table.page(results),
        task_table.page(results, shown(results)),
        tables.caveats(plan, results),
        _law_section(folder, fitted) if fitted else "",
        plan_evidence.evidence(plan),
        tables.experts(results, "planned" if "planned" in results["expert_tables"] else "80/20"),
        f'<div class="first"><div>{plan_evidence.costs(results)}</div><div>{plan_evidence.goodput(spent)}</div></div>',
        "<h2>Training</h2>",
        _image(plots.loss_curves(folder.phases, results), "Training loss over tokens"),
        '<p class="note">Each line is a compared model from step 0; where lines lie on each other, it is one training, '
        "done once. Experts are drawn as their mean.</p>",
    ]
    title = escape(f"splitjax: {config.name}")
    write_atomic(
        folder.report,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n",
    )


def _key(plan: Mapping[str, Any]) -> str:
    """How to read the curve."""
    if "curve" not in plan:
        return ""
    picks = ", ".join(
        f"{escape(name)} {100 * told['split_fraction']:.0f} %" for name, told in plan["by_family"].items()
    )
    return (
        '<p class="note">Interval: 90 % of the bootstrap draws of every family that is near the best on held-out runs '
        f"or speaks for a corner; their own picks (ticks below the curve): {picks}. “As good”: the law puts it within "
        "0.1 % of its least loss. Hollow marks: a corner that the curve's family cannot predict, as another predicts "
        "it.</p>"
    )


def _law_section(folder: RunFolder, fitted: law.LawFit) -> str:
    with open(folder.observations, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    predicted = [
        fitted.predict(float(r["n_params"]), float(r["d_pretrain"]), float(r["d_special"]), domain=r["domain"])
        for r in rows
    ]
    undefined = sum(value == float("inf") for value in predicted)
    picture = _image(plots.law_against_observations(predicted, rows), "The law against its observations")
    corners = f"; {undefined} more lie at a corner (D = 0 or D′ = 0) where it is not defined" if undefined else ""
    return (
        f"<h2>The law against its observations</h2><p><b>{escape(fitted.family)}</b>: "
        f"L(N, D, D′) = {escape(fitted.chosen.forms[0].family.formula)}, in nats a token; N parameters without "
        "embeddings, D tokens on the mixture, D′ tokens of an expert on its domain. Fitted to validation losses; the "
        f"fitted values are in law.json. {len(rows) - undefined} of {len(rows)} observations are drawn{corners}.</p>"
        f"{picture}"
    )


def _image(png: bytes, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
