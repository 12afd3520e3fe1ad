"""What pydantic found wrong, as one line: key, what was given, mend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from reprlib import Repr
from typing import Any

from pydantic import BaseModel, ValidationError

from .errors import did_you_mean

Path = tuple[str | int, ...]
_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


def first_mistake(error: ValidationError, settings: type[BaseModel]) -> tuple[Path, str, str]:
    """(path of the key, what is wrong, mend) of the first mistake in `settings`."""
    mistakes = error.errors(include_url=False)
    # A list whose items are wrong is also called too short by pydantic: only the deepest mistake is one.
    outer = {each["loc"][:depth] for each in mistakes for depth in range(len(each["loc"]))}
    mistakes = [each for each in mistakes if each["loc"] not in outer] or mistakes
    first = mistakes[0]
    path = _known(first["loc"], settings)
    key = ".".join(map(str, path))
    if first["type"] == "extra_forbidden":
        path = tuple(first["loc"])
        section = _section(path[:-1], settings)
        known = section.model_fields if section else ()
        return path, f"unknown key '{'.'.join(map(str, path))}'", did_you_mean(str(path[-1]), known)
    if first["type"] == "unexpected_keyword_argument":
        return path, f"unknown key '{'.'.join(map(str, first['loc']))}'", ""
    if first["type"] == "missing":
        path = tuple(first["loc"])
        return path[:-1], f"key '{'.'.join(map(str, path))}' is missing", _describe(path, settings)
    what = f"{key}: {_message(first)}" if key else _message(first)
    return path, what, f"And {len(mistakes) - 1} more." if len(mistakes) > 1 else ""


_PLAIN = (
    (r"^(Input|String|Value) should", "should"),
    (r"^Tuple should", "should"),
    (r" after validation, not \d+$", ""),
    (r"a valid dictionary( or instance of \w+)?", "a section (a mapping of keys)"),
    (r"a valid tuple", "a list"),
    (r"a valid integer", "a whole number"),
    (r"a valid ", "a "),
)


def _message(mistake: Any) -> str:
    message: str = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error":
        return message
    for pattern, plain in _PLAIN:
        message = re.sub(pattern, plain, message)
    return f"{message}, not {_short.repr(_as_given(mistake['input']))}"


def _as_given(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _describe(path: Path, settings: type[BaseModel]) -> str:
    section = _section(path[:-1], settings)
    field = section.model_fields.get(str(path[-1])) if section else None
    return f"It is: {field.description}" if field and field.description else ""


def _known(loc: Sequence[str | int], settings: type[BaseModel]) -> Path:
    """The part of pydantic's location that is keys of ours (it appends the members of unions)."""
    path: list[str | int] = []
    for part in loc:
        section = _section(tuple(path), settings)
        if not isinstance(part, int) and (section is None or part not in section.model_fields):
            break
        path.append(part)
    return tuple(path)


def _section(path: Path, settings: type[BaseModel]) -> type[BaseModel] | None:
    """The settings class at a path (indices of lists skipped)."""
    here = settings
    for part in path:
        if isinstance(part, int):
            continue
        field = here.model_fields.get(part)
        found = _settings_in(field.annotation) if field else None
        if found is None:
            return None
        here = found
    return here


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _settings_in(inner):
            return found
    return None
