"""Pages that are made from the code at each build: every config key, every function of the package."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import splitjax
from splitjax.config import Config, PerParam
from splitjax.config.presets import PRESETS

_KEYS = """\
# Config keys

Every key of a config file, made from `splitjax/config/`. A wrong key or value is refused with its line and the
mend. On the command line any of them is `dotted.key=value`; a value is YAML. Counts take units (`40M`, `2.7B`); tokens
may be given per parameter of the model (`20x`).
"""
_API = """\
# Python

The command line as functions of the package; they are imported on first use. The stages `train` and `evaluate` are
`splitjax.stages.train` and `splitjax.stages.evaluate`, since `splitjax.train` and `splitjax.evaluate` are packages.
What they return shows itself in a notebook, with `.plot()` and, where pandas is installed, `.to_pandas()`;
`docs/notebook.py` goes the whole way.

```python
import splitjax

results = splitjax.run(splitjax.load("configs/demo_quick.yaml", ["run_dir=runs/quick"]))
law = splitjax.fit(splitjax.Table.read("runs.csv"))
plan = splitjax.plan(law, n_params=2.7e9, tokens=100e9, experts=8)
plan.plot()
run = splitjax.open_run("runs/quick")
run.plot()
run.results, run.law, run.plan, run.observations, run.generate("def read("), run.export("experts")
splitjax.predict(law, n_params=1e9, d_pretrain=20e9, d_special=2e9).interval
```
"""


def write(folder: Path) -> None:
    """Write the pages into `folder`; a page that has not changed keeps its date, so that Sphinx skips it."""
    folder.mkdir(exist_ok=True)
    for name, text in (("config_keys.md", config_keys()), ("python_api.md", python_api())):
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def config_keys() -> str:
    """A table of keys for each section."""
    parts = [_KEYS]
    for prefix, settings in sections(Config):
        about = (settings.__doc__ or "").strip().splitlines()[0]
        title = f"`{prefix}`" if prefix else "Top level"
        table = [
            f"| `{'.'.join(filter(None, [prefix, name]))}` | {_takes(field)} | {_default(field)} | {_about(field)} |"
            for name, field in settings.model_fields.items()
        ]
        parts.append("\n".join([f"## {title}\n", f"{about}\n", "| key | takes | default | what it is |",
                                "|---|---|---|---|", *table, ""]))
    return "\n".join(parts) + "\n" + _presets()


def sections(
    settings: type[BaseModel], prefix: str = "", seen: tuple[type[BaseModel], ...] = ()
) -> Iterator[tuple[str, type[BaseModel]]]:
    """(dotted name, class) of the top level and of each section below it, once; `[]` after the name of a list."""
    yield prefix, settings
    for name, field in settings.model_fields.items():
        for inner, is_list in _settings_in(field.annotation):
            if inner not in (*seen, settings):
                path = ".".join(filter(None, [prefix, name])) + ("[]" if is_list else "")
                yield from sections(inner, path, (*seen, settings))


def python_api() -> str:
    """Signature and docstring of everything in `splitjax.__all__`."""
    parts = [_API]
    public = {name: getattr(splitjax, name) for name in splitjax.__all__ if not name.startswith("__")}
    for name, value in sorted(public.items(), key=lambda item: isinstance(item[1], type)):
        kind = "autoclass" if isinstance(value, type) else "autofunction"
        members = "   :members:\n" if isinstance(value, type) else ""
        parts.append(f"```{{eval-rst}}\n.. {kind}:: splitjax.{name}\n{members}```\n")
    return "\n".join(parts)


def _about(field: FieldInfo) -> str:
    if field.description is None:
        return next((inner.__doc__ or "" for inner, _ in _settings_in(field.annotation)), "").strip().splitlines()[0]
    return field.description.replace("|", "\\|").replace("<", "\\<")


def _takes(field: FieldInfo) -> str:
    found = list(dict.fromkeys(_words(field.annotation)))
    limits = [
        f"{sign} {value}"
        for sign, name in ((">", "gt"), ("≥", "ge"), ("<", "lt"), ("≤", "le"))
        for value in (getattr(each, name, None) for each in field.metadata)
        if isinstance(value, int | float)
    ]
    return " or ".join(found) + (f", {', '.join(limits)}" if limits else "")


def _words(annotation: Any) -> Iterator[str]:
    origin, inner = get_origin(annotation), get_args(annotation)
    plain = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    if annotation in plain:
        yield plain[annotation]
    elif annotation is PerParam:
        yield "`20x`"
    elif origin is Literal:
        yield " · ".join(f"`{each}`" for each in inner)
    elif origin is tuple:
        yield f"list of {' or '.join(dict.fromkeys(_words(inner[0])))}"
    elif origin in (Union, types.UnionType):
        for each in inner:
            yield from _words(each)
    elif origin is dict:
        yield "mapping"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "section"
    elif hasattr(annotation, "__metadata__"):
        yield from _words(inner[0])
    else:
        yield str(annotation).replace("|", "or")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "*needed*"
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settings_in(annotation: Any, is_list: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, is_list
    for inner in get_args(annotation):
        yield from _settings_in(inner, is_list or get_origin(annotation) is tuple)


def _presets() -> str:
    sizes = {name: ", ".join(f"{key} {value}" for key, value in keys.items()) for name, keys in PRESETS.items()}
    rows = [f"| `{name}` | {size} |" for name, size in sizes.items()]
    return "\n".join(["## Presets of `model`\n", "`model: 310M`, or `model: {preset: 310M, tied_embeddings: true}`.\n",
                      "| name | stands for |", "|---|---|", *rows, ""])
