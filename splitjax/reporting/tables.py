"""The tables and lists of the report, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from splitjax.config import format_count
from splitjax.law.splitting.limits import words
from splitjax.runs.plan_record import mixture_note

from .judging.measured_edges import gains as gains_of
from .judging.measured_edges import validation_loss
from .model_table import first_of, shown
from .number_text import DIVERGED, figure, least
from .router_table import name_of
from .sections import Cell, Row, Section, figure_line, line, part

_GAINS = {
    "routed": "routed, after the prefix",
    "oracle_after_prefix": "label known, after the prefix",
    "oracle": "label known, whole windows",
}
_SPENT = {
    "total": "T = D + K·D′ over all models: equal training compute",
    "per_model": "T = D + D′ seen by each expert; K experts together cost more",
}


def domains(results: Mapping[str, Any]) -> Section:
    """Test losses of every model, by domain and in the mean."""
    names, models = shown(results), results["models"]
    after = [models[name]["after_prefix"] for name in names]
    tokens = [format_count(models[n]["tokens"]) if "tokens" in models[n] else "–" for n in names]
    rows = [
        part("whole windows, label known"),
        *(
            figure_line(domain, [figure(models[name]["test"]["domains"][index]) for name in names])
            for index, domain in enumerate(results["domains"])
        ),
        figure_line("mean", [figure(models[n]["test"]["mean"]) for n in names], "mean"),
        figure_line("bits a byte", [figure(_mean(models[n]["bits_per_byte"])) for n in names]),
        part(f"after the {results['prefix']}-token prefix that a router reads"),
        figure_line("mean, label known", [figure(each["oracle"]["mean"]) for each in after]),
        figure_line("mean, routed", [figure(each["routed"]["mean"]) for each in after], "mean"),
        figure_line("perplexity, routed", [figure(each["routed"]["perplexity"], ".2f") for each in after]),
        line("tokens trained, all models", tokens),
    ]
    note = (
        f"{results['windows']} test windows a domain. seed: the shared model where the planned split leaves it, its "
        "rate not yet decayed. 80/20: 80 % of the budget on the mixture, the rest on experts. Unigram entropy of the "
        f"test text: {results['unigram_entropy']:.3f}.{' ' if 'seeds' in results else ''}{first_of(results)}"
    )
    head = ("domain", *(name.replace("_", " ").replace(" %", "\u00a0%") for name in names))
    return Section("Test loss, nats a token", head, tuple(rows), note=note)


def seeds(results: Mapping[str, Any]) -> Section | None:
    """Losses of every model over training seeds; None where there is one."""
    told = results.get("seeds")
    if told is None:
        return None
    rows = []
    for name in shown(results):
        cells = [told["models"][name][kind] for kind in _GAINS]
        each = ", ".join(figure(loss) for loss in told["models"][name]["routed"]["by_seed"])
        rows.append(line(name.replace("_", " "), [*(_with_error(cell) for cell in cells), each]))
    best = told["best_split"]
    note = (
        f"Mean ± one standard error over seeds {', '.join(map(str, told['seeds']))}: the sample's spread over √"
        f"{len(told['seeds'])}. Each seed has its own initialisation, order of data and router; data and windows are "
        "the same, so what all models of a seed share is in these ± and not in those of gains."
    )
    if best["mean"] is not None:
        at = ", ".join(f"{100 * fraction:.0f}" for fraction in best["by_seed"])
        note += (f" Best measured split by seed, routed: {at} %, in the mean {100 * best['mean']:.0f} ± "
                 f"{100 * best['error']:.0f} %.")
    head = ("test loss, nats a token", *_GAINS.values(), "routed, by seed")
    return Section(f"Over {len(told['seeds'])} training seeds", head, tuple(rows), note=note)


def _with_error(told: Mapping[str, Any]) -> str:
    mean = figure(told["mean"])
    return mean if mean == DIVERGED else f"{mean} ± {told['error']:.3f}"


def gains(results: Mapping[str, Any]) -> Section:
    """By how much the planned model beats the others."""
    rows = (
        line(name.replace("_vs_", " against ").replace("_", " "), [_gain(gain[kind]) for kind in _GAINS])
        for name, gain in gains_of(results).items()
    )
    note = (
        "± one standard error of the paired difference over the test windows; the noise of another training seed is "
        "not in it."
    )
    if told := results.get("seeds"):
        note = (
            f"Means over {len(told['seeds'])} training seeds: the first ± is one standard error of the paired "
            "difference over the test windows, the second one over the seeds."
        )
    head = ("test perplexity lower by (%)", *_GAINS.values())
    return Section("What the planned split was worth", head, tuple(rows), note=note)


def facts(plan: Mapping[str, Any], results: Mapping[str, Any]) -> Section:
    """Size, budget, extrapolation, costs."""
    costs, sweep = results["costs"], results["costs"]["sweep"]
    total, experts = costs["n_params_total"], results["models"]["planned"]["experts"]
    lines = [
        f"N = {format_count(costs['n_params'])} without embeddings ({format_count(total)} with), T = "
        f"{format_count(plan['tokens'])} tokens, K = {plan['experts']} domains, accounting {plan['accounting']}: "
        f"{_SPENT[plan['accounting']]}"
    ]
    if mixture := plan.get("mixture"):
        told = mixture_note(mixture)
        lines.append(f"{told[0].upper()}{told[1:]}")
    if outside := plan.get("outside_fit"):
        lines.append(
            f"Extrapolated: N is {outside['n_params']:.1f}× the largest fitted, T is {outside['tokens']:.1f}× the "
            f"longest fitted path, D' is {outside.get('d_special', 0):.1f}× the largest fitted"
        )
    if sweep["tokens"]:
        whose = "one planned model's" if "seeds" in results else "the main run's"
        told = plan.get("sweep", {})
        of_main = told.get("of_main", sweep["flops"] / costs["planned_flops"])
        timed = f", {told['of_main_time']:.2g} times its time on {told['topology']}" if "topology" in told else ""
        lines.append(
            f"The sweep is not in T: {format_count(sweep['tokens'])} tokens, {sweep['flops']:.2g} FLOPs, {of_main:.2g} "
            f"times {whose}{timed} (shared trunks saved {_percent(1 - sweep['tokens'] / sweep['tokens_unshared'])} of "
            f"its tokens); it pays for larger N and T. {told.get('further', '')}".rstrip(". ")
        )
    if experts > 1:
        lines.append(
            f"To serve: {experts} × {format_count(total)} parameters stored, {format_count(total)} at work on a token "
            f"once routed{_reading(results)}"
        )
    return Section("Budget and cost", items=tuple(lines))


def outcome(plan: Mapping[str, Any], results: Mapping[str, Any]) -> Section | None:
    """What the law promised, and what was measured, on validation."""
    if "predicted_loss" not in plan:
        return None
    promised = {"planned": (plan["predicted_loss"], plan["family"])}
    for name, base in plan["baselines"].items():  # a loss above all that a law was fitted to says nothing
        promised[words(name)] = (None if base.get("beyond") else base["predicted_loss"], base["family"])
    rows = []
    for name, (loss, family) in promised.items():
        measured = validation_loss(results, name)
        off = "–" if loss is None or measured is None else f"{loss - measured:+.3f}"
        told = figure(measured) if name in results["models"] else "–"
        rows.append(line(name, ["–" if loss is None else f"{loss:.3f}", told, off, str(family)]))
    head = ("label known", "law", "measured", "law off by", "family")
    return Section("Promised and measured validation loss", head, tuple(rows))


def families(fitted: Mapping[str, Any]) -> Section:
    """Every family with its errors."""
    rows = []
    for family in fitted["families"]:
        held_out = family.get("heldout") or {}
        weight = fitted["weights"].get(family["family"])
        rows.append(line(family["family"], [
            "–" if weight is None else f"{weight:.0%}", _percent(family["mre"]), _percent(held_out.get("mre")),
            str(held_out.get("n", "–")),
        ]))
    head = ("family", "weight in the law", "on fitted rows", "on larger runs held out", "runs × domains held out")
    note = f"{' '.join(fitted['notes'])} Then refitted to all rows. 1 % of a loss of 4 nats is 4 % of perplexity."
    return Section("Families of laws, mean relative error", head, tuple(rows), note=note)


def experts(results: Mapping[str, Any], name: str) -> Section:
    """Loss of every expert on every domain."""
    table, names = results["expert_tables"][name], results["domains"]
    after = results["models"][name]["after_prefix"]
    best = [least(line[m] for line in table) for m in range(len(names))]
    rows = (
        Row(domain, tuple(Cell(figure(value), value is not None and value == best[m]) for m, value in enumerate(line)))
        for domain, line in zip(names, table, strict=True)
    )
    accuracy, router = _percent(_mean(after["routing_accuracy"])), name_of(after["router"])
    note = f"{accuracy} of the windows go to their own domain's expert ({router})."
    return Section(f"Every expert on every domain: {name}", ("expert \\ text", *names), tuple(rows), note=note)


def _reading(results: Mapping[str, Any]) -> str:
    """What the planned experts' router costs beyond the expert that answers."""
    chosen = results["routing"]["planned"]["chosen"]
    settings = next(row["settings"] for row in results["routing"]["planned"]["rows"] if row["router"] == chosen)
    runs = f"; {settings['top']} experts run on every token" if settings["top"] > 1 else ""
    all_of = results["routing"]["planned"]["experts"]
    return runs + (f"; this router runs all {all_of} over the prefix" if settings["reads_losses"] else "")


def caveats(plan: Mapping[str, Any], results: Mapping[str, Any]) -> Section:
    """What a reader must hold against the verdict."""
    most = max(results["models"]["planned"]["epochs"])
    lines = (
        *map(str, plan.get("notes", ())),
        _seeds_in(results),
        f"The planned model saw at most {most:.2g} epochs of a domain's text.",
        "Every model ends with the same relative decay and the same recipe; nothing was tuned for the split.",
    )
    return Section("Caveats", items=lines)


def _seeds_in(results: Mapping[str, Any]) -> str:
    """Whether the figures hold the noise of training."""
    if told := results.get("seeds"):
        return (f"{len(told['seeds'])} training seeds tell their spread roughly; they share data, tokenizer and plan, "
                "whose noise is not in the ± figures. Routers, tasks and what is exported are of seed "
                f"{told['seeds'][0]}.")
    return "One training seed: differences between seeds are not in the ± figures."


def _gain(gain: Mapping[str, Any]) -> str:
    value, error = figure(gain["perplexity"], "+.1f"), figure(gain["perplexity_error"], ".1f")
    if DIVERGED in (value, error):
        return DIVERGED
    return f"{value} ± {error}" + (f" ± {gain['perplexity_seeds_error']:.1f}" if "by_seed" in gain else "")


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.1f} %"
