"""What is set domain by domain: `train.experts`, what single experts have of their own, and `train.mixture`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from .errors import UserError, did_you_mean
from .units import parse_count

EVERYBODY = "*"


@dataclass(frozen=True)
class ExpertSettings:
    """One expert's.

    Attributes:
        rate: what multiplies the learning rate after the split.
        clip: its gradient-norm clip (None: train.clip).
        patience: evaluations in a row without a better validation loss after which it stops (None: never).
        every: tokens between evaluations; the same for all.
        moments: what becomes of the optimiser's moments at the split ("zero": they and their count start anew); the
            same for all.
    """

    rate: float = 1.0
    clip: float | None = None
    patience: int | None = None
    every: int | None = None
    moments: Literal["inherit", "zero"] = "inherit"


@dataclass(frozen=True)
class Experts:
    """Settings as they were given: (domain or "*", its settings), hashable."""

    given: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that are named."""
        return tuple(name for name, _ in self.given if name != EVERYBODY)

    def of(self, domain: str) -> ExpertSettings:
        """What holds for a domain: its own settings over everybody's."""
        told = dict(self.given)
        return ExpertSettings(**(dict(told.get(EVERYBODY, ())) | dict(told.get(domain, ()))))

    @property
    def every(self) -> int | None:
        return self.of(EVERYBODY).every

    @property
    def moments(self) -> Literal["inherit", "zero"]:
        return self.of(EVERYBODY).moments

    @property
    def stops_early(self) -> bool:
        return any(key == "patience" for _, settings in self.given for key, _ in settings)


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"is {value!r}, not a positive number")
    return float(value)


def _patience(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"is {value!r}, not a whole number of evaluations from 1")
    return value


def _tokens(value: Any) -> int:
    count = parse_count(value)
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"is {value!r}, not a count of tokens")
    return count


def _moments(value: Any) -> str:
    if value not in ("inherit", "zero"):
        raise ValueError(f"is {value!r}, neither inherit nor zero")
    return str(value)


_KEYS: dict[str, Callable[[Any], Any]] = {
    "rate": _positive, "clip": _positive, "patience": _patience, "every": _tokens, "moments": _moments,
}
_OF_ALL = {"every": "evaluations are", "moments": "the split is"}


def _parse(value: object) -> object:
    """{code: {rate: 0.5}, "*": {patience: 3, every: 1M}}."""
    if not isinstance(value, dict):
        return value
    given = []
    for domain, settings in value.items():
        if not isinstance(settings, dict):
            raise ValueError(f"'{domain}' should be a section such as {{rate: 0.5}}, not {settings!r}")
        for key in settings:
            if key not in _KEYS:
                raise ValueError(f"unknown key '{domain}.{key}'. {did_you_mean(str(key), _KEYS)}")
            if key in _OF_ALL and domain != EVERYBODY:
                raise ValueError(f"'{domain}.{key}': {_OF_ALL[key]} the same for all; give it under '*'")
        try:
            read = tuple((key, _KEYS[key](each)) for key, each in settings.items())
        except ValueError as error:
            raise ValueError(f"'{domain}': a setting {error}") from None
        given.append((str(domain), read))
    experts = Experts(tuple(given))
    if experts.stops_early != (experts.every is not None):
        raise ValueError("patience and '*'.every (tokens between evaluations) go together")
    return experts


def _dump(value: Experts) -> dict[str, dict[str, Any]]:
    return {domain: dict(settings) for domain, settings in value.given}


ExpertsField = Annotated[Experts, BeforeValidator(_parse), PlainSerializer(_dump)]


@dataclass(frozen=True)
class Mixture:
    """What the trunk's mixture is made of: weights as they were given, sorted by domain; hashable."""

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


def _parse_mixture(value: object) -> object:
    if not isinstance(value, dict):
        return value
    for name, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise ValueError(f"the weight of '{name}' is {weight!r:.60}, not a number from 0")
    if not sum(value.values()) > 0:
        raise ValueError("no domain has a weight above 0")
    return Mixture(tuple(sorted((str(name), float(weight)) for name, weight in value.items())))


def _dump_mixture(value: Mixture | None) -> dict[str, Any] | None:
    return dict(value.given) if value else None


MixtureField = Annotated[
    Mixture | None, BeforeValidator(_parse_mixture), PlainSerializer(_dump_mixture),
    WithJsonSchema({"type": ["object", "null"], "additionalProperties": {"type": "number", "minimum": 0}}),
]
