"""Types that every section of a config is made of: strict, frozen settings; counts, splits and fractions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from .errors import control_character
from .units import PerParam, exact_count, parse_count


def _whole(value: object) -> int:
    count = parse_count(value)
    if isinstance(count, PerParam):
        raise ValueError(f"{count} is relative to a model; give an absolute count here")
    return count


def _dump_count(value: int | PerParam) -> int | str:
    return str(value) if isinstance(value, PerParam) else value


def _split(value: object) -> object:
    """A split: null, a fraction 0-1, or tokens with a unit."""
    if value is None or (isinstance(value, float) and 0 <= value <= 1):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in (0, 1):
        return float(value)
    if isinstance(value, str):
        try:
            fraction = float(value)
        except ValueError:
            return _whole(value)
        if 0 <= fraction <= 1:
            return fraction
    raise ValueError(f"{value!r} is neither a fraction from 0 to 1 nor tokens with a unit such as 2M")


def _split_or_law(value: object) -> object:
    if value == "law":
        return value
    if value is None:
        raise ValueError("a fraction from 0 to 1, tokens with a unit such as 2M, or law")
    return _split(value)


def _dump_split(value: float | int | str | None) -> float | str | None:
    return exact_count(value) if isinstance(value, int) else value


def _listed(value: object) -> object:
    return value if isinstance(value, tuple | list) else (value,)


class _OneOrMany:
    """Tells editors that a single value serves as well as a list."""

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        many = handler(core)
        return {"anyOf": [many["items"], many]}


def _text_count(unit: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": unit}]})


T = TypeVar("T")
_COUNT = r"^[0-9][0-9_]*(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?\s*"

Count = Annotated[int, BeforeValidator(_whole), _text_count(_COUNT + "[kKmMbBgGtT]?$")]
"""A whole count; accepts "40M"."""
TokenCount = Annotated[
    int | PerParam,
    BeforeValidator(parse_count),
    PlainSerializer(_dump_count, return_type=int | str),
    _text_count(_COUNT + "[kKmMbBgGtTxX]?$"),
]
"""Tokens, absolute ("40M") or per parameter ("20x")."""
Split = Annotated[
    float | int | None,
    BeforeValidator(_split),
    PlainSerializer(_dump_split),
    WithJsonSchema({"type": ["number", "string", "null"]}),
]
"""A float is a fraction of T, an int is tokens."""
SplitOrLaw = Annotated[
    float | int | Literal["law"],
    BeforeValidator(_split_or_law),
    PlainSerializer(_dump_split),
    WithJsonSchema({"type": ["number", "string"]}),
]
"""A split, or "law"."""
Many = Annotated[tuple[T, ...], BeforeValidator(_listed), _OneOrMany()]
"""A list; one value stands for a list of one."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


def _refuse_control(key: object, value: object) -> None:
    """Raise ValueError for a text that would end a line of a script, or move a terminal, wherever it is written."""
    inner = (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for text in (key, value, *inner):
        if isinstance(text, str) and (found := control_character(text)) is not None:
            raise ValueError(f"'{key}' holds {found}, which no name may")


class Settings(BaseModel):
    """Base of every section: unknown keys refused, values frozen, nothing converted silently."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False,
        arbitrary_types_allowed=True, protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _freeze_lists(cls, values: Any) -> Any:
        """YAML and JSON have lists where the settings hold tuples."""
        if not isinstance(values, dict):
            return values
        for key, value in values.items():
            _refuse_control(key, value)
        return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
