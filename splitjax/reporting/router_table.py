"""The table of routers, in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.table import Table

from splitjax.evaluate import perplexity

from .number_text import figure, of_first_seed
from .sections import Section, line, part

_HEAD = ("router", "experts a token", "right expert (%)", "test loss", "over label (%)", "perplexity",
         "under dense (%)", "validation loss")
_WORDS = {
    "label": "domain label (oracle)",
    "prefix": "prefix likelihood",
    "centroid": "nearest centroid",
    "bayes": "Bayes mixture, causal",
    "average": "weights averaged",
}


def terminal(results: Mapping[str, Any]) -> Table | None:
    """Every router of the planned experts (of 80/20 where the plan keeps one model); None without any."""
    if not (name := shown(results)):
        return None
    prefix, experts = results["prefix"], results["routing"][name]["experts"]
    title = f"Routers of {name}, K = {experts}, after {prefix} tokens{of_first_seed(results)}"
    table = Table(title=title, title_justify="left")
    table.add_column("router", no_wrap=True)
    for word in ("experts", "right", "loss", "over label", "ppl", "under dense"):
        table.add_column(word, justify="right")
    for (chosen, cells), row in zip(rows(results, name), results["routing"][name]["rows"], strict=True):
        table.add_row(row["router"], *cells[1:-1], style="bold" if chosen else None)
    return table


def section(results: Mapping[str, Any]) -> Section | None:
    """The same for every set of experts, on the page."""
    if not results["routing"]:
        return None
    first, lines = shown(results), []
    for name in sorted(results["routing"], key=lambda name: (name != first, name)):
        lines.append(part(f"{name}, K = {results['routing'][name]['experts']}"))
        for chosen, (router, *cells) in rows(results, name):
            lines.append(line(router, cells, "mean" if chosen else ""))
    left_out = results["routing"][first or next(iter(results["routing"]))]["left_out"]
    missing = "".join(f" Left out: {name} ({why})." for name, why in left_out.items())
    note = (
        f"Scored on what follows a {results['prefix']}-token prefix; a router reads the prefix, a causal one each "
        "token after it was scored. In bold the router of the verdict: chosen on validation among those that leave one "
        "expert a token; prefix likelihood stands unless another wins by two standard errors. Under dense: test "
        f"perplexity below the dense model's.{missing}"
    )
    return Section(f"Routers{of_first_seed(results)}", _HEAD, tuple(lines), note=note)


def shown(results: Mapping[str, Any]) -> str | None:
    """The experts to show first."""
    return next((name for name in ("planned", "80/20") if name in results["routing"]), None)


def rows(results: Mapping[str, Any], name: str) -> Iterator[tuple[bool, list[str]]]:
    """(whether it is the one chosen, cells in the order of the head) of each router."""
    table = results["routing"][name]
    oracle = next(row for row in table["rows"] if row["router"] == "label")
    dense = results["models"]["dense"]["after_prefix"]["oracle"]["mean"]
    for row in table["rows"]:
        right = "–" if row["accuracy"] is None else f"{100 * sum(row['accuracy']) / len(row['accuracy']):.1f}"
        over = "–" if row is oracle else figure(_per_cent(row["test"], oracle["test"], lambda a, b: a / b - 1), "+.2f")
        under = _per_cent(row["test"], dense, lambda a, b: 1 - perplexity(a - b))
        cells = [
            name_of(row["router"]), str(row["experts_a_token"]), right, figure(row["test"], ".4f"), over,
            figure(row["perplexity"], ".2f"), figure(under, "+.1f"), figure(row["validation"], ".4f"),
        ]
        yield row["router"] == table["chosen"], cells


def _per_cent(a: float | None, b: float | None, compare: Callable[[float, float], float]) -> float | None:
    """Null where one of them diverged."""
    return None if a is None or b is None else 100 * compare(a, b)


def name_of(router: str) -> str:
    """The router in words."""
    if router.startswith("top"):
        top, kind = router.split("_")
        return f"top {top[3:]} by {kind}"
    return _WORDS.get(router, router)
