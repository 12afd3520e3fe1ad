"""The table of zero-shot tasks, in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from .number_text import of_first_seed
from .sections import Section, line


def terminal(results: Mapping[str, Any], names: list[str]) -> Table | None:
    """Accuracy of the models on each task; None without tasks."""
    if not results["zero_shot"]:
        return None
    title = f"Zero-shot accuracy (%), ± one standard error{of_first_seed(results)}"
    table = Table(title=title, title_justify="left")
    for index, word in enumerate(("task", *names)):
        table.add_column(word, justify="right" if index else "left")
    for cells in rows(results, names):
        table.add_row(*cells)
    return table


def section(results: Mapping[str, Any], names: list[str]) -> Section | None:
    """The same on the page."""
    if not results["zero_shot"]:
        return None
    missing = results["zero_shot"]["commonsense_missing"]
    why = f" No mean over the eight commonsense tasks: {', '.join(missing)} missing." if missing else ""
    note = (
        "Routed: the router reads the question alone, one expert scores all its options. / byte: by log-likelihood a "
        f"byte. ± one standard error over the items.{why}"
    )
    lines = tuple(line(task, cells) for task, *cells in rows(results, names))
    return Section(f"Zero-shot accuracy (%){of_first_seed(results)}", ("task", *names), lines, note=note)


def rows(results: Mapping[str, Any], names: list[str]) -> Iterator[list[str]]:
    """A task's name and the accuracy of each model; where options differ in length, also by byte."""
    told = results["zero_shot"]
    for task in told["tasks"]:
        for key, words in (("accuracy", task), ("accuracy_by_byte", f"{task} / byte")):
            scores = [told["models"][name][task] for name in names]
            if key in scores[0]:
                yield [words, *(f"{100 * one[key]:.1f} ± {100 * one[f'{key}_error']:.1f}" for one in scores)]
    if not told["commonsense_missing"]:
        yield ["mean of eight", *(f"{100 * told['commonsense_average'][name]:.1f}" for name in names)]
