"""YAML + overrides → Config, every mistake told by key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from .errors import UserError, did_you_mean
from .schema import Config


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """Read a config file and apply ``dotted.key=value`` overrides (values are YAML).

    Raises:
        UserError: no file, not YAML, an unknown key, or a value that does not fit; names the key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError("no such config file", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read as text ({error})", where=str(path)) from error
    tree = _parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise UserError("a config is a mapping of keys to values", where=str(path))
    for override in overrides:
        _apply(tree, override)
    return from_dict(tree, where=str(path))


def from_dict(tree: dict[str, Any], where: str = "config") -> Config:
    """Validate a plain dict as a Config."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, where) from None


def dump(config: Config) -> str:
    """The resolved config as YAML; reading it back gives an equal Config."""
    return yaml.safe_dump(config.resolved(), sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice instead of keeping the last."""


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: no tag builds an object
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        raise UserError(f"not valid YAML ({getattr(error, 'problem', None) or error})", where=place) from None


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"override '{override}' is not dotted.key=value", mend="For example train.batch_size=8.")
    node: Any = tree
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        if isinstance(node, list):
            node = node[_index(part, node, key)]
            continue
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict | list):
            raise UserError(f"'{'.'.join(parents[: depth + 1])}' is a value, not a section", where=f"override {key}")
        node = child
    parsed = _parse_yaml(value, f"override {key}")
    if isinstance(node, list):
        node[_index(last, node, key)] = parsed
    else:
        node[last] = parsed


def _index(part: str, items: list[Any], key: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise UserError(f"'{part}' is not an index below {len(items)}", where=f"override {key}")
    return int(part)


def _explain(error: ValidationError, where: str) -> UserError:
    """The first mistake as one line: key, what, mend."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        section = _section(path[:-1])
        known = section.model_fields if section else ()
        return UserError(f"unknown key '{key}'", where=where, mend=did_you_mean(path[-1], known) if known else "")
    if first["type"] == "missing":
        return UserError(f"key '{key}' is missing", where=where)
    message = first["msg"].removeprefix("Value error, ")
    return UserError(f"{key}: {message}" if key else message, where=where)


def _section(path: Sequence[str]) -> type[BaseModel] | None:
    """The settings class at a dotted path (indices skipped)."""
    here: type[BaseModel] = Config
    for part in path:
        if part.isdigit():
            continue
        if part not in here.model_fields:
            return None
        found = _settings_in(here.model_fields[part].annotation)
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
