"""One self-contained HTML page: verdict, split curve, tables, law, costs, provenance."""

from __future__ import annotations

import base64
import csv
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from splitjax import law
from splitjax.config import Config, format_count, read_json, write_atomic

from . import plots
from .closing import shown
from .folder import RunFolder
from .plan import read_plan
from .verdict import headline

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; max-width: 76rem; margin: 1rem auto; padding: 0 1rem; }
h1 { font-size: 1rem; color: #57606a; font-weight: 600; margin: 0 0 .3rem; }
h2 { font-size: 1.05rem; margin: 1.2rem 0 .3rem; }
.verdict { font-size: 1.2rem; font-weight: 600; line-height: 1.35; margin: .2rem 0 .8rem; }
.first { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 0 2rem; }
.first h2:first-child { margin-top: .2rem; }
@media (max-width: 60rem) { .first { grid-template-columns: 1fr; } }
table { border-collapse: collapse; margin: .4rem 0; font-variant-numeric: tabular-nums; font-size: .92em; }
th, td { padding: .12rem .6rem; border-bottom: 1px solid #e5e7eb; text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #9aa4b0; }
tr.mean td { font-weight: 600; border-top: 1px solid #9aa4b0; }
td.best { background: #e8f3ec; }
img { max-width: 100%; height: auto; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
p.note, li { color: #3d444d; } code { background: #f3f4f6; padding: 0 .25rem; overflow-wrap: anywhere; }
"""


def write(folder: RunFolder, config: Config) -> None:
    """Write report.html from what lies in the run folder."""
    plan, results = read_plan(folder), read_json(folder.results)
    fitted = read_json(folder.law) if folder.law.exists() else None
    curve = _image(plots.split_curve(plan, results), "Predicted and measured loss over the split fraction")
    body = [
        f"<h1>splitjax · {escape(config.name)}</h1>",
        f'<p class="verdict">{escape(headline(plan, results))}</p>',
        f'<div class="first"><div>{curve}{_domain_table(results)}</div>',
        f"<div>{_facts(plan, results)}{_family_table(fitted) if fitted else ''}{_provenance(results)}</div></div>",
        _gain_table(results),
        _caveats(plan, results),
        _law_section(folder) if fitted else "",
        *(_expert_table(results, name) for name in ("planned", "80/20")),
        "<h2>Training</h2>",
        _image(plots.loss_curves(folder.phases, _main_phases(folder, results)), "Training loss over tokens"),
    ]
    title = escape(f"splitjax: {config.name}")
    write_atomic(
        folder.report,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n",
    )


def _domain_table(results: Mapping[str, Any]) -> str:
    names, models = shown(results), results["models"]
    lines = [
        (domain, [models[name]["test"]["domains"][index] for name in names], "")
        for index, domain in enumerate(results["domains"])
    ]
    lines += [
        ("mean, label known, whole windows", [models[n]["test"]["mean"] for n in names], "mean"),
        ("label known, after the prefix", [models[n]["after_prefix"]["oracle"]["mean"] for n in names], ""),
        ("routed, after the prefix", [models[n]["after_prefix"]["routed"]["mean"] for n in names], "mean"),
    ]
    rows = "".join(_number_row(*line) for line in lines)
    perplexity = "".join(f"<td>{models[n]['after_prefix']['routed']['perplexity']:.2f}</td>" for n in names)
    tokens = "".join(f"<td>{format_count(models[n]['tokens']) if 'tokens' in models[n] else '–'}</td>" for n in names)
    bits = "".join(f"<td>{_mean(models[n]['bits_per_byte']):.3f}</td>" for n in names)
    return (
        "<h2>Test loss, nats a token</h2>"
        f"<table><thead><tr><th>domain</th>{''.join(f'<th>{escape(n)}</th>' for n in names)}</tr></thead>{rows}"
        f"<tr><td>perplexity, routed</td>{perplexity}</tr><tr><td>bits a byte, label known</td>{bits}</tr>"
        f"<tr><td>tokens trained, all models</td>{tokens}</tr></table>"
        '<p class="note">“seed” is the shared model where the planned split leaves it, its rate not yet decayed. '
        f"A text without learning, by unigram counts, costs {results['unigram_entropy']:.3f} nats a token.</p>"
    )


def _number_row(name: str, values: Sequence[float], kind: str) -> str:
    best = min(values)
    cells = "".join(f"<td{' class=best' if value == best else ''}>{value:.3f}</td>" for value in values)
    return f'<tr class="{kind}"><td>{escape(name)}</td>{cells}</tr>'


def _gain_table(results: Mapping[str, Any]) -> str:
    rows = ""
    for name, gain in results["gains"].items():
        cells = "".join(
            f"<td>{gain[kind]['perplexity']:+.2f} ± {gain[kind]['perplexity_error']:.2f}</td>"
            for kind in ("routed", "oracle")
        )
        rows += f"<tr><td>{escape(name.replace('_vs_', ' against ').replace('_', ' '))}</td>{cells}</tr>"
    return (
        "<h2>What splitting was worth</h2><table><thead><tr><th>test perplexity lower by (%)</th>"
        f"<th>routed</th><th>label known</th></tr></thead>{rows}</table>"
        '<p class="note">± one standard error of the paired difference over the test windows; the noise of another '
        "training seed is not in it.</p>"
    )


def _law_section(folder: RunFolder) -> str:
    with open(folder.observations, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    fitted = law.LawFit.load(folder.law)
    predicted = [
        fitted.predict(float(r["n_params"]), float(r["d_pretrain"]), float(r["d_special"]), domain=r["domain"])
        for r in rows
    ]
    picture = _image(plots.law_against_observations(predicted, rows), "The law against its observations")
    formula = escape(fitted.chosen.forms[0].family.formula)
    return (
        f"<h2>The law against its {len(rows)} observations</h2>"
        f"<p><b>{escape(fitted.family)}</b>: L(N, D, D′) = {formula}</p>{picture}"
    )


def _family_table(fitted: Mapping[str, Any]) -> str:
    rows = ""
    for family in fitted["families"]:
        holdout = family.get("heldout") or {}
        cells = [_percent(family.get("mre")), _percent(holdout.get("mre")), _count(holdout.get("n"))]
        chosen = " (chosen)" if family["family"] == fitted["family"] else ""
        rows += f"<tr><td>{escape(family['family'])}{chosen}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    return (
        "<h2>Families of laws, mean relative error</h2><table><thead><tr><th>family</th><th>rows fitted</th>"
        f"<th>held-out larger runs</th><th>held-out rows</th></tr></thead>{rows}</table>"
    )


def _facts(plan: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    costs, sweep = results["costs"], results["costs"]["sweep"]
    measured = results["models"]["planned"]["validation"]["mean"]
    lines = [
        f"N = {format_count(costs['n_params'])} without embeddings ({format_count(costs['n_params_total'])} with), "
        f"T = {format_count(plan['tokens'])} tokens, K = {plan['experts']}, accounting {plan['accounting']}"
    ]
    if predicted := plan.get("predicted_loss"):
        lines.append(
            f"The law promised a validation loss of {predicted:.4f}; measured {measured:.4f} "
            f"(law off by {100 * (predicted / measured - 1):+.2f} %)"
        )
    if outside := plan.get("outside_fit"):
        lines.append(
            f"Extrapolated: N is {outside['n_params']:.1f}× the largest fitted, T is {outside['tokens']:.1f}× the "
            "longest fitted path"
        )
    if sweep["tokens"]:
        lines.append(
            f"The sweep cost {format_count(sweep['tokens'])} tokens, {sweep['flops']:.2g} FLOPs: "
            f"{_percent(costs['sweep_share'])} of sweep and planned model together; shared trunks saved "
            f"{_percent(1 - sweep['tokens'] / sweep['tokens_unshared'])} of its tokens"
        )
    return f"<h2>Plan and outcome</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _expert_table(results: Mapping[str, Any], name: str) -> str:
    table, domains = results["expert_tables"].get(name), results["domains"]
    if table is None:
        return ""
    accuracy = _percent(_mean(results["models"][name]["after_prefix"]["routing_accuracy"]))
    head = "".join(f"<th>{escape(domain)}</th>" for domain in domains)
    rows = "".join(_number_cells(domain, table, index) for index, domain in enumerate(domains))
    return (
        f"<h2>Every expert on every domain: {escape(name)}</h2>"
        f"<table><thead><tr><th>expert \\ text</th>{head}</tr></thead>{rows}</table>"
        f'<p class="note">The prefix router sends {accuracy} of the windows to their own domain\'s expert.</p>'
    )


def _number_cells(name: str, table: Sequence[Sequence[float]], index: int) -> str:
    cells = "".join(
        f"<td{' class=best' if value == min(other[m] for other in table) else ''}>{value:.3f}</td>"
        for m, value in enumerate(table[index])
    )
    return f"<tr><td>{escape(name)}</td>{cells}</tr>"


def _caveats(plan: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    most = max(results["models"]["planned"]["epochs"])
    lines = [f"The planned model saw at most {most:.2g} epochs of a domain's text."]
    lines.append(
        "Every model here ends with the same relative decay and the same recipe; nothing was tuned for the split."
    )
    lines.append("One training seed: differences between seeds are not in the ± figures.")
    lines += [str(line) for line in plan.get("notes", ())]
    return "<h2>Caveats</h2><ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _provenance(results: Mapping[str, Any]) -> str:
    made = results["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (
        "<h2>Where this comes from</h2><ul>"
        f"<li><code>{escape(made['command'])}</code></li>"
        f"<li>commit {escape(made['commit'])}, {escape(made['made'])}</li>"
        f"<li>{escape(made['hardware'])}; {escape(made['devices'])}; Python {escape(made['python'])}</li>"
        f"<li>{escape(versions)}</li></ul>"
    )


def _main_phases(folder: RunFolder, results: Mapping[str, Any]) -> list[str]:
    """Phases of the main model's shape, in name order."""
    tag = results["models"]["planned"]["cell"].split(".")[0]
    return sorted(path.name for path in folder.phases.glob(f"{tag}.*"))


def _image(png: bytes, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.1f} %"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
