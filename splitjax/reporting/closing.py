"""What a run ends with in the terminal: its tables, then the answer and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from .model_table import closing_table
from .verdict import Verdict


def closing(results: Mapping[str, Any], found: Verdict) -> Group:
    """Tables, verdict, what comes next; the last is what stays in sight."""
    return Group(closing_table(results), answer(found))


def answer(found: Verdict) -> Group:
    """The verdict alone."""
    lines = [Text(found.text, style="bold"), Text(found.terms, style="dim")]
    for step in found.next:
        lines.append(Text(f"Next: {step}"))
        if step.command:
            lines.append(Text(f"  {step.command}", no_wrap=True, overflow="ignore"))
    return Group(*lines)


def console() -> Console:
    """Standard output for people: 80 columns where it is no terminal, and no colours on numbers."""
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = 80
    return made
