"""Templates of this room, filled: HTML escapes every value, Markdown takes names through `code`."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from splitjax.config import shown

from .glossary import explained


def render(template: str, **values: Any) -> str:
    """The text of `templates/<template>`; a value that it misses is an error of ours, not an empty place."""
    return _environment().get_template(template).render(**values)


def code(name: str) -> str:
    """A name that came with the data, safe in Markdown."""
    return "`" + shown(name.replace("`", "'").replace("|", "/").replace("\n", " ")) + "`"


def _shown(value: Any) -> Any:
    """Whatever stands in a place of a template; what a template has made itself is as it should be."""
    return shown(value, lines=True) if type(value) is str else value


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("splitjax.reporting"), autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_shown,
    )
    made.filters["code"], made.filters["explained"] = code, explained
    return made
