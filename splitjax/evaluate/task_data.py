"""What a task's local data must be before Arrow reads them: its JSON reader dies of values nested too deep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from splitjax.config import UserError
from splitjax.data.sources import files

_DEEPEST = 100
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|([\[{])|([\]}])')


def check(settings: Mapping[str, Any]) -> None:
    """Refuse JSON files whose values are nested deeper than any item needs; what is not there is left to lm-eval.

    Args:
        settings: of a task's file.

    Raises:
        UserError: names file and line.
    """
    if settings.get("dataset_path") != "json":
        return
    for pattern in _named((settings.get("dataset_kwargs") or {}).get("data_files")):
        for path in _found(pattern):
            _check_file(path)


def _named(value: Any) -> Iterator[str]:
    """The paths in `data_files`: one, a list, or either by split."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _named(one)


def _found(pattern: str) -> list[str]:
    try:
        return files.find(pattern)
    except UserError:
        return []


def _check_file(path: str) -> None:
    depth = 0
    with files.opened(path) as lines:
        for number, line in enumerate(lines, 1):
            for token in _TOKEN.finditer(line):
                opens, closes = token.groups()
                depth = max(0, depth + (opens is not None) - (closes is not None))
                if depth > _DEEPEST:
                    raise UserError(f"a value nested more than {_DEEPEST} deep", where=f"{path}:{number}")
