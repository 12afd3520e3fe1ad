"""What a run ends with in the terminal: its tables, then the answer and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.text import Text

from .model_table import closing_table


def closing(results: Mapping[str, Any]) -> Group:
    """Tables, verdict, what comes next; the last is what stays in sight.

    Args:
        results: with `verdict`, as `splitjax.run` returns them.
    """
    return Group(closing_table(results), answer(results["verdict"]))


def answer(found: Mapping[str, Any]) -> Group:
    """The verdict alone.

    Args:
        found: `Verdict.to_json`.
    """
    lines = [Text(found["text"], style="bold"), Text(found["terms"], style="dim")]
    for step in found["next"]:
        lines.append(Text(f"Next: {step['what']} ({step['price']})"))
        if step["command"]:
            lines.append(Text(f"  {step['command']}", no_wrap=True, overflow="ignore"))
    return Group(*lines)
