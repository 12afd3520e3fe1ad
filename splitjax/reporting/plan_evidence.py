"""Further tables of the report: the plan's evidence, what was spent on which models, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from splitjax.config import format_count

_CAUSES = {
    "steps": "steps that count",
    "redone": "steps made again after a kill",
    "compile": "compiling",
    "data": "waiting for data",
    "checkpoint": "saving and restoring",
    "evaluation": "scoring",
    "other": "everything else",
}


def evidence(plan: Mapping[str, Any]) -> str:
    """What the split was picked by, before the main run: law, its held-out error, the alternatives, the date."""
    if "law" not in plan:
        return ""
    error = (plan.get("held_out") or {}).get("mre")
    told = "not held out" if error is None else f"off by {100 * error:.2g} % on larger runs held out"
    rows = ""
    for name, view in plan["by_family"].items():
        low, high = (100 * end for end in view["interval"])
        cells = [f"{100 * view['split_fraction']:.0f} %", f"{low:.0f}–{high:.0f} %", f"{view['predicted_loss']:.3f}"]
        rows += f"<tr><td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    return (
        "<h2>The plan's evidence and its alternatives</h2>"
        "<table><thead><tr><th>family</th><th>its own best split</th><th>90 % interval</th><th>predicted loss</th></tr>"
        f"</thead>{rows}</table>"
        f'<p class="note">Fixed {escape(str(plan["made"]))}, before the main run, by {escape(plan["family"])} '
        f"({told}); law {escape(plan['law']['hash'][:12])}.</p>"
    )


def costs(results: Mapping[str, Any]) -> str:
    """Tokens and training FLOPs of the sweep and of each compared model."""
    told, flops = results["costs"], results["costs"]["planned_flops"] / results["costs"]["planned_tokens"]
    lines = [("sweep", told["sweep"]["tokens"], told["sweep"]["flops"])]
    compared = {name: row["tokens"] for name, row in results["models"].items() if "tokens" in row}
    lines += [(name, tokens, tokens * flops) for name, tokens in compared.items()]
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{format_count(tokens)}</td><td>{spent:.3g}</td></tr>"
        for name, tokens, spent in lines
        if tokens
    )
    return (
        "<h2>What was spent</h2><table><thead><tr><th>on</th><th>tokens, all its models</th><th>training FLOPs</th>"
        f"</tr></thead>{rows}</table>"
        '<p class="note">Each model with its whole path; trunks that models share were trained once.</p>'
    )


def goodput(found: Mapping[str, Any] | None) -> str:
    """Where the wall time of training went."""
    if not found:
        return ""
    wall = found["wall"] or 1.0
    rows = "".join(
        f"<tr><td>{words}</td><td>{found['seconds'][cause]:,.1f}</td><td>{found['seconds'][cause] / wall:.1%}</td></tr>"
        for cause, words in _CAUSES.items()
    )
    return (
        f"<h2>Goodput: {found['share']:.0%} of the training time in steps that count</h2>"
        f"<table><thead><tr><th>cause</th><th>seconds</th><th>share</th></tr></thead>{rows}</table>"
        '<p class="note">Of the phases of sweep and main run, all processes added up. A process that is killed takes '
        "the last half minute of its account with it.</p>"
    )
