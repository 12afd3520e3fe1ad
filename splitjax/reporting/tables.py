"""The tables and lists of the report, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from splitjax.config import format_count

from .model_table import shown
from .number_text import DIVERGED, figure, least
from .router_table import name_of

_GAINS = {
    "routed": "routed, after the prefix",
    "oracle_after_prefix": "label known, after the prefix",
    "oracle": "label known, whole windows",
}
_SPENT = {
    "total": "T = D + K·D′ over all models: equal training compute",
    "per_model": "T = D + D′ seen by each expert; K experts together cost more",
}


def domains(results: Mapping[str, Any]) -> str:
    """Test losses of every model, by domain and in the mean."""
    names, models = shown(results), results["models"]
    whole = [
        _row(domain, [figure(models[name]["test"]["domains"][index]) for name in names])
        for index, domain in enumerate(results["domains"])
    ]
    whole.append(_row("mean", [figure(models[n]["test"]["mean"]) for n in names], "mean"))
    whole.append(_row("bits a byte", [figure(_mean(models[n]["bits_per_byte"])) for n in names]))
    after = [
        _row("mean, label known", [figure(models[n]["after_prefix"]["oracle"]["mean"]) for n in names]),
        _row("mean, routed", [figure(models[n]["after_prefix"]["routed"]["mean"]) for n in names], "mean"),
        _row("perplexity, routed", [figure(models[n]["after_prefix"]["routed"]["perplexity"], ".2f") for n in names]),
    ]
    tokens = [format_count(models[n]["tokens"]) if "tokens" in models[n] else "–" for n in names]
    across = f'<tr class="part"><td colspan="{len(names) + 1}">'
    return (
        "<h2>Test loss, nats a token</h2>"
        f"<table><thead><tr><th>domain</th>{''.join(f'<th>{escape(n)}</th>' for n in names)}</tr></thead>"
        f"{across}whole windows, label known</td></tr>{''.join(whole)}"
        f"{across}after the {results['prefix']}-token prefix that a router reads</td></tr>{''.join(after)}"
        f"{_row('tokens trained, all models', tokens, best=False)}</table>"
        f'<p class="note">{results["windows"]} test windows a domain. seed: the shared model where the planned split '
        "leaves it, its rate not yet decayed. 80/20: 80 % of the budget on the mixture, the rest on experts. "
        f"Unigram entropy of the test text: {results['unigram_entropy']:.3f}.</p>"
    )


def gains(results: Mapping[str, Any]) -> str:
    """By how much the planned model beats the others."""
    head = "".join(f"<th>{words}</th>" for words in _GAINS.values())
    rows = "".join(
        _row(name.replace("_vs_", " against ").replace("_", " "), [_gain(gain[kind]) for kind in _GAINS], best=False)
        for name, gain in results["gains"].items()
    )
    return (
        "<h2>What the planned split was worth</h2>"
        f"<table><thead><tr><th>test perplexity lower by (%)</th>{head}</tr></thead>{rows}</table>"
        '<p class="note">± one standard error of the paired difference over the test windows; the noise of another '
        "training seed is not in it.</p>"
    )


def facts(plan: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Size, budget, extrapolation, costs."""
    costs, sweep = results["costs"], results["costs"]["sweep"]
    total, experts = costs["n_params_total"], results["models"]["planned"]["experts"]
    lines = [
        f"N = {format_count(costs['n_params'])} without embeddings ({format_count(total)} with), T = "
        f"{format_count(plan['tokens'])} tokens, K = {plan['experts']} domains, accounting {plan['accounting']}: "
        f"{_SPENT[plan['accounting']]}"
    ]
    if outside := plan.get("outside_fit"):
        lines.append(
            f"Extrapolated: N is {outside['n_params']:.1f}× the largest fitted, T is {outside['tokens']:.1f}× the "
            "longest fitted path"
        )
    if sweep["tokens"]:
        lines.append(
            f"The sweep is not in T: {format_count(sweep['tokens'])} tokens, {sweep['flops']:.2g} FLOPs, "
            f"{_percent(costs['sweep_share'])} of sweep and planned model together (shared trunks saved "
            f"{_percent(1 - sweep['tokens'] / sweep['tokens_unshared'])} of its tokens); it pays for larger N and T"
        )
    if experts > 1:
        lines.append(
            f"To serve: {experts} × {format_count(total)} parameters stored, {format_count(total)} at work on a token "
            f"once routed{_reading(results)}"
        )
    return _list("Budget and cost", lines)


def outcome(plan: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """What the law promised, and what was measured, on validation."""
    if "predicted_loss" not in plan:
        return ""
    promised = {"planned": (plan["predicted_loss"], plan["family"])}
    for name, base in plan["baselines"].items():
        promised[{"split_at_0": "split at 0 %"}.get(name, name)] = (base["predicted_loss"], base["family"])
    rows = ""
    for name, (loss, family) in promised.items():
        measured = results["models"].get(name, {}).get("validation", {}).get("mean")
        off = "–" if loss is None or measured is None else f"{loss - measured:+.3f}"
        told = figure(measured) if name in results["models"] else "–"
        cells = ["–" if loss is None else f"{loss:.3f}", told]
        rows += _row(name, [*cells, off, escape(str(family))], best=False)
    return (
        "<h2>Promised and measured validation loss</h2><table><thead><tr><th>label known</th><th>law</th>"
        f"<th>measured</th><th>law off by</th><th>family</th></tr></thead>{rows}</table>"
    )


def families(fitted: Mapping[str, Any]) -> str:
    """Every family with its errors."""
    rows = ""
    for family in fitted["families"]:
        held_out = family.get("heldout") or {}
        name = family["family"] + (" (chosen)" if family["family"] == fitted["family"] else "")
        count = str(held_out.get("n", "–"))
        rows += _row(name, [_percent(family["mre"]), _percent(held_out.get("mre")), count], best=False)
    return (
        "<h2>Families of laws, mean relative error</h2><table><thead><tr><th>family</th><th>on fitted rows</th>"
        f"<th>on larger runs held out</th><th>runs × domains held out</th></tr></thead>{rows}</table>"
        f'<p class="note">{escape(" ".join(fitted["notes"]))} Then refitted to all rows. 1 % of a loss of 4 nats is '
        "4 % of perplexity.</p>"
    )


def experts(results: Mapping[str, Any], name: str) -> str:
    """Loss of every expert on every domain."""
    table, names = results["expert_tables"][name], results["domains"]
    after = results["models"][name]["after_prefix"]
    accuracy, router = _percent(_mean(after["routing_accuracy"])), escape(name_of(after["router"]))
    head = "".join(f"<th>{escape(domain)}</th>" for domain in names)
    rows = ""
    for index, domain in enumerate(names):
        cells = "".join(
            f"<td{' class=best' if value is not None and value == least(row[m] for row in table) else ''}>"
            f"{figure(value)}</td>"
            for m, value in enumerate(table[index])
        )
        rows += f"<tr><td>{escape(domain)}</td>{cells}</tr>"
    return (
        f"<h2>Every expert on every domain: {escape(name)}</h2>"
        f"<table><thead><tr><th>expert \\ text</th>{head}</tr></thead>{rows}</table>"
        f'<p class="note">{accuracy} of the windows go to their own domain\'s expert ({router}).</p>'
    )


def _reading(results: Mapping[str, Any]) -> str:
    """What the planned experts' router costs beyond the expert that answers."""
    chosen = results["routing"]["planned"]["chosen"]
    settings = next(row["settings"] for row in results["routing"]["planned"]["rows"] if row["router"] == chosen)
    runs = f"; {settings['top']} experts run on every token" if settings["top"] > 1 else ""
    all_of = results["routing"]["planned"]["experts"]
    return runs + (f"; this router runs all {all_of} over the prefix" if settings["reads_losses"] else "")


def caveats(plan: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """What a reader must hold against the verdict."""
    most = max(results["models"]["planned"]["epochs"])
    lines = [
        *map(str, plan.get("notes", ())),
        "One training seed: differences between seeds are not in the ± figures.",
        f"The planned model saw at most {most:.2g} epochs of a domain's text.",
        "Every model ends with the same relative decay and the same recipe; nothing was tuned for the split.",
    ]
    return _list("Caveats", lines)


def provenance(results: Mapping[str, Any]) -> str:
    """Command, commit, hardware, versions."""
    made = results["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (
        '<h2>Where this comes from</h2><p class="note">'
        f"<code>{escape(made['command'])}</code>, commit {escape(made['commit'])}, {escape(made['made'])}; "
        f"{escape(made['hardware'])}; {escape(made['devices'])}; Python {escape(made['python'])}, "
        f"{escape(versions)}</p>"
    )


def _row(name: str, cells: Sequence[str], kind: str = "", best: bool = True) -> str:
    lowest = min((float(cell) for cell in cells if cell != DIVERGED), default=None) if best else None
    marked = "".join(
        f"<td{' class=best' if lowest is not None and cell != DIVERGED and float(cell) == lowest else ''}>{cell}</td>"
        for cell in cells
    )
    return f'<tr class="{kind}"><td>{escape(name)}</td>{marked}</tr>'


def _gain(gain: Mapping[str, float | None]) -> str:
    value, error = figure(gain["perplexity"], "+.1f"), figure(gain["perplexity_error"], ".1f")
    return DIVERGED if DIVERGED in (value, error) else f"{value} ± {error}"


def _list(title: str, lines: Sequence[str]) -> str:
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.1f} %"
