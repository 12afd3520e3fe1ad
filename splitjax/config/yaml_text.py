"""YAML as people mean it: safe, every key once, and the scalars of YAML 1.2.

PyYAML reads YAML 1.1, where ``no`` is false, ``1:30`` is 90, ``010`` is 8, ``2026-01-01`` is a date and ``4e-3`` is
text. Here a plain scalar is null, true, false, a decimal integer, a decimal float, or else text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from .errors import UserError

_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["", "~", "n", "N"]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?((\d[\d_]*)?\.\d+|\d[\d_]*\.)([eE][-+]?\d+)?|[-+]?\d[\d_]*[eE][-+]?\d+", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
)


class _Loader(yaml.SafeLoader):
    """Builds nothing but dicts, lists and plain scalars, whatever tags the text carries."""

    def mapping(self, node: yaml.Node) -> dict[str, Any]:
        """A dict; a key given twice is refused instead of keeping the last."""
        if not isinstance(node, yaml.MappingNode):
            raise ConstructorError(None, None, "expected a mapping", node.start_mark)
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise ConstructorError(None, None, "a key is not text", key_node.start_mark)
            if key in values:
                raise ConstructorError(None, None, f"key '{key}' given twice", key_node.start_mark)
            values[key] = self.construct_object(value_node, deep=True)
        return values

    def sequence(self, node: yaml.SequenceNode) -> list[Any]:
        return list(self.construct_sequence(node, deep=True))

    def text(self, node: yaml.ScalarNode) -> str:
        """A string; JSON writes a character beyond the basic plane as a pair of escapes, joined here."""
        return str(self.construct_scalar(node)).encode("utf-16", "surrogatepass").decode("utf-16")

    def boolean(self, node: yaml.ScalarNode) -> bool:
        return self.text(node).lower() == "true"

    def integer(self, node: yaml.ScalarNode) -> int:
        return int(self.text(node).replace("_", ""))

    def number(self, node: yaml.ScalarNode) -> float:
        return float(self.text(node).lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the text that `_Loader` would read as something else; never writes aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def string(self, data: str) -> yaml.ScalarNode:
        # Plain or in single quotes PyYAML writes Unicode line breaks that it reads back as spaces.
        return self.represent_scalar(_TAG + "str", data, style='"' if set(data) & set("\x85\u2028\u2029") else None)


# Fresh tables: those of the parents hold the scalars of YAML 1.1 and the constructors of other tags.
_Loader.yaml_implicit_resolvers, _Dumper.yaml_implicit_resolvers = {}, {}
for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$", re.ASCII), _first)
_Dumper.add_representer(str, _Dumper.string)
_Loader.yaml_constructors = {
    None: _Loader.construct_undefined,
    _TAG + "map": _Loader.mapping,
    _TAG + "seq": _Loader.sequence,
    _TAG + "str": _Loader.text,
    _TAG + "null": lambda loader, node: None,
    _TAG + "bool": _Loader.boolean,
    _TAG + "int": _Loader.integer,
    _TAG + "float": _Loader.number,
}


class Document:
    """Parsed YAML that remembers on which line a key stands."""

    def __init__(self, text: str, where: str) -> None:
        """Parse `text`.

        Raises:
            UserError: it is not YAML; `where` and the line are named.
        """
        try:
            loader = _Loader(text)
            self._node = loader.get_single_node()
            self.value: Any = loader.construct_document(self._node) if self._node else None
        except RecursionError:
            raise UserError("not valid YAML (nested too deeply)", where=where) from None
        except (yaml.YAMLError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            what = getattr(error, "problem", None) or error
            place = f"{where}:{mark.line + 1}" if mark and "\n" in text else where
            raise UserError(f"not valid YAML ({what})", where=place) from None

    def line(self, path: Sequence[str | int]) -> int | None:
        """1-based line on which the key at `path` stands; None where the text does not have it."""
        node, line = self._node, None
        for part in path:
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == part), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                found = (node.value[part], node.value[part])
            else:
                found = None
            if found is None:
                return None
            line, node = found[0].start_mark.line + 1, found[1]
        return line


def to_yaml(value: Any, flow: bool = False) -> str:
    """Plain dicts, lists and scalars as text that `Document` reads back unchanged; `flow`: on one line."""
    width = sys.maxsize if flow else None
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width)
