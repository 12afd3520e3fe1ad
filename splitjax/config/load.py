"""YAML + overrides → Config, every mistake told by key and line."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .errors import UserError
from .explain import first_mistake
from .origin import Value, values
from .schema import Config
from .yaml_text import Document, to_yaml

_MOST = 1 << 24
"""Characters of a config file; a device has no end."""


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """Read a config file and apply ``dotted.key=value`` overrides (values are YAML).

    Raises:
        UserError: no file, not YAML, an unknown key, or a value that does not fit; names the key and the line.
    """
    return read(path, overrides)[0]


def config_at(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The config in a file or in the folder of a run, which may have been moved.

    Raises:
        UserError: a folder that is no run, or what `load` refuses.
    """
    if path.is_dir():
        if not (path / "config.yaml").exists():
            raise UserError("a folder without config.yaml is not a run", where=str(path))
        return load(path / "config.yaml", [f"run_dir={json.dumps(str(path))}", *overrides])
    return load(path, overrides)


def is_models(path: Path) -> bool:
    """Whether a folder is an exported set or a Hugging Face model, and not a run."""
    a_run = (path / "config.yaml").exists()
    return not a_run and ((path / "export.json").exists() or (path / "config.json").exists())


def read(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> tuple[Config, Document]:
    """`load`, with the text that it read, as it stands in the file."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MOST + 1)
    except FileNotFoundError:
        raise UserError("no such config file", where=str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path no system accepts
        raise UserError(f"cannot be read as text ({error})", where=str(path)) from error
    if len(text) > _MOST:
        raise UserError(f"more than {_MOST:,} characters, which no config has", where=str(path))
    document = Document(text, str(path))
    tree = copy.deepcopy(document.value)
    if not isinstance(tree, dict):
        raise UserError("a config is a mapping of keys to values", where=str(path))
    for override in overrides:
        _apply(tree, override)
    try:
        return Config.model_validate(tree), document
    except ValidationError as error:
        place, what, mend = first_mistake(error, Config)
        line = document.line(place)
        if cause := _cause(place, overrides, below=line is None):
            raise UserError(what.removeprefix(f"{'.'.join(map(str, place))}: "), where=cause, mend=mend) from None
        raise UserError(what, where=f"{path}:{line}" if line else str(path), mend=mend) from None


def origins(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[Value]:
    """Every value of the resolved config with where it comes from, in the order of the schema.

    Raises:
        UserError: as `load`.
    """
    config, document = read(path, overrides)
    return values(config.resolved(), document, str(path), overrides)


def from_dict(tree: dict[str, Any], where: str = "config") -> Config:
    """Validate a plain dict as a Config.

    Raises:
        UserError: an unknown key, or a value that does not fit; names the key.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        _, what, mend = first_mistake(error, Config)
        raise UserError(what, where=where, mend=mend) from None


def dump(config: Config) -> str:
    """The resolved config as YAML; reading it back gives a Config that resolves to the same."""
    return to_yaml(config.resolved())


def _cause(place: Sequence[str | int], overrides: Sequence[str], below: bool) -> str:
    """The override that set the key at `place`, or a section around it (or a key `below` it); "" where none did."""
    parts = [str(part) for part in place]
    for override in reversed(overrides):
        key = override.partition("=")[0].split(".")
        if key == parts[: len(key)] or (below and parts and key[: len(parts)] == parts):
            return f"override {override}"
    return ""


def _apply(tree: dict[str, Any], override: str) -> None:
    """Set one ``dotted.key=value`` in place; sections that are not there yet are made."""
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"override '{override}' is not dotted.key=value", mend="For example train.batch_size=8.")
    node: Any = tree
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        if isinstance(node, dict) and node.get(part) is None:
            if [*parents, last][depth + 1].isdigit():
                raise UserError("there is no list yet", where=f"override {key}", mend=f"Give it whole: {part}=[...].")
            node[part] = {}
        node = node[_index(part, node, key)] if isinstance(node, list) else node[part]
        if not isinstance(node, dict | list):
            raise UserError(f"'{'.'.join(parents[: depth + 1])}' is a value, not a section", where=f"override {key}")
    node[_index(last, node, key) if isinstance(node, list) else last] = Document(value, f"override {key}").value


def _index(part: str, items: list[Any], key: str) -> int:
    if not (part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(items)):
        raise UserError(f"'{part}' is not an index below {len(items)}", where=f"override {key}")
    return int(part)
