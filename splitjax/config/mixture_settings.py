"""What the trunk's mixture is made of: `train.mixture`, weights by domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from .errors import UserError, did_you_mean


@dataclass(frozen=True)
class Mixture:
    """Weights as they were given, sorted by domain; hashable."""

    given: tuple[tuple[str, float], ...]

    def of(self, domains: Sequence[str]) -> tuple[float, ...]:
        """The weight of each of these domains.

        Raises:
            UserError: a domain that is none of them, or one that has no weight.
        """
        told = dict(self.given)
        for name in told:
            if name not in domains:
                raise UserError(f"no domain '{name}'", where="train.mixture", mend=did_you_mean(name, domains))
        for name in domains:
            if name not in told:
                raise UserError(f"gives '{name}' no weight", where="train.mixture",
                                mend="Name every domain; 0 leaves one out of the trunk.")
        return tuple(told[name] for name in domains)


def _parse(value: object) -> object:
    if not isinstance(value, dict):
        return value
    for name, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise ValueError(f"the weight of '{name}' is {weight!r:.60}, not a number from 0")
    if not sum(value.values()) > 0:
        raise ValueError("no domain has a weight above 0")
    return Mixture(tuple(sorted((str(name), float(weight)) for name, weight in value.items())))


def _dump(value: Mixture | None) -> dict[str, Any] | None:
    return dict(value.given) if value else None


MixtureField = Annotated[
    Mixture | None, BeforeValidator(_parse), PlainSerializer(_dump),
    WithJsonSchema({"type": ["object", "null"], "additionalProperties": {"type": "number", "minimum": 0}}),
]
