"""The closing table in the terminal: every compared model, by domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from splitjax.config import format_count

from . import router_table, task_table
from .narrow import narrow
from .number_text import figure, least

COLUMNS = ("seed", "dense", "80/20", "planned")


def shown(results: Mapping[str, Any]) -> list[str]:
    """The models to show as columns: the four that every reader asks for, where they exist, then the others."""
    names = results["models"]
    return [name for name in COLUMNS if name in names] + sorted(names.keys() - set(COLUMNS))


def first_of(results: Mapping[str, Any]) -> str:
    """Of which training seed single figures are; "" where there is one."""
    seeds = results.get("seeds", {}).get("seeds", ())
    return f"Of training seed {seeds[0]}, but where {len(seeds)} are named." if seeds else ""


def closing_table(results: Mapping[str, Any]) -> Group:
    """Every table that ends a run in the terminal."""
    tables = [losses(results), router_table.terminal(results), task_table.terminal(results, shown(results))]
    return Group(*(narrow(table) for table in tables if table))


def losses(results: Mapping[str, Any]) -> Table:
    """Test loss in nats a token: by domain with the label known, then the means, oracle and routed."""
    names = shown(results)
    models = results["models"]
    table = Table(title="Test loss, nats a token", title_justify="left")
    if seeds := results.get("seeds"):
        table.caption, table.caption_justify = first_of(results), "left"
    table.add_column("domain")
    for name in names:
        table.add_column(name.replace("_", " ").replace(" %", "%"), justify="right")
    for index, domain in enumerate(results["domains"]):
        _row(table, domain, [models[name]["test"]["domains"][index] for name in names])
    table.add_section()
    _row(table, "mean, label known", [models[name]["test"]["mean"] for name in names])
    _row(table, "… after the prefix", [models[name]["after_prefix"]["oracle"]["mean"] for name in names])
    _row(table, "… routed", [models[name]["after_prefix"]["routed"]["mean"] for name in names])
    if seeds:
        table.add_section()
        told = [seeds["models"][name]["routed"] for name in names]
        _row(table, f"routed, {len(seeds['seeds'])} seeds", [each["mean"] for each in told])
        table.add_row("± over seeds", *(figure(each["error"]) for each in told))
    table.add_section()
    routed = [models[name]["after_prefix"]["routed"]["perplexity"] for name in names]
    table.add_row("perplexity, routed", *(figure(perplexity, ".2f") for perplexity in routed))
    table.add_row(
        "trained tokens",
        *(format_count(models[n]["tokens"]) if "tokens" in models[n] else "–" for n in names),
    )
    return table


def _row(table: Table, name: str, losses: list[float | None]) -> None:
    best, cells = least(losses), map(figure, losses)
    marked = (Text(cell, "bold") if loss == best else cell for loss, cell in zip(losses, cells, strict=True))
    table.add_row(name, *marked)
