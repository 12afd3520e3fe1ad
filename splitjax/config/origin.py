"""Where each value of a config comes from: the file and its line, an override, a preset, or the default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .presets import PRESETS
from .yaml_text import Document

Path = tuple[str | int, ...]


class Value(NamedTuple):
    """A resolved value.

    Attributes:
        key: dotted, as an override would name it.
        value: as the resolved config has it.
        origin: "default", "file:line", "override key=value", or "preset NAME (file:line)".
    """

    key: str
    value: Any
    origin: str


def values(tree: Any, document: Document, where: str, overrides: Sequence[str] = ()) -> list[Value]:
    """Every value of a resolved config with its origin, in the order of the schema.

    Args:
        tree: the resolved config.
        document: the text that it was read from, `where` its name.
        overrides: what was set beside it.
    """
    found = []
    for place, value in _leaves(tree):
        key = ".".join(map(str, place))
        origin = _of_override(place, overrides) or _of_file(place, document, where) or "default"
        found.append(Value(key, value, origin))
    return found


def _leaves(tree: Any, place: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Scalars and lists of scalars."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    nested = list(items)
    if nested and (isinstance(tree, dict) or any(isinstance(value, dict | list) for _, value in nested)):
        for name, value in nested:
            yield from _leaves(value, (*place, name))
    else:
        yield place, tree


def _of_override(place: Path, overrides: Sequence[str]) -> str:
    """The last override that set the key or a section around it."""
    parts = [str(part) for part in place]
    for override in reversed(overrides):
        key, _, value = override.partition("=")
        names = key.split(".")
        if names != parts[: len(names)]:
            continue
        rest = [int(part) if part.isdigit() else part for part in parts[len(names) :]]
        given = Document(value, override)
        if not rest or (found := _given(given.value, rest)) is True:
            return f"override {override}"
        return f"{found} (override {override})" if found else "default"
    return ""


def _of_file(place: Path, document: Document, where: str) -> str:
    """Its line; where a preset around it gave it, that one's."""
    found = _given(document.value, place)
    for depth in range(len(place), 0, -1):
        if found and (line := document.line(place[:depth])):
            return f"{where}:{line}" if found is True else f"{found} ({where}:{line})"
    return ""


def _given(tree: Any, place: Sequence[str | int]) -> bool | str:
    """Whether the text holds the key itself (also one value where the schema has a list), or a preset that gave it."""
    for depth, part in enumerate(place):
        preset = tree if isinstance(tree, str) else tree.get("preset") if isinstance(tree, dict) else None
        if (isinstance(tree, dict) and part in tree) or (isinstance(tree, list) and part in range(len(tree))):
            tree = tree[part]  # type: ignore[index]
        elif isinstance(part, int):
            continue  # one value that stands for a list of one
        elif preset in PRESETS and depth == len(place) - 1:
            return f"preset {preset}" if part in PRESETS[str(preset)] else False
        else:
            return False
    return True
