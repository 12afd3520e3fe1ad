"""Settings of a sweep: a value that names its cells, by axes, by list, and by what is left out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from .errors import did_you_mean
from .model_settings import Model
from .settings import Many, Settings, SplitOrLaw, TokenCount

Seed = Annotated[int, Field(ge=0, lt=2**31)]
AXES = ("models", "d_pretrain", "d_special", "tokens", "split", "seeds")
"""Axes in the order in which they are crossed."""


def _shared(value: object) -> object:
    """A number alone is the share."""
    return {"share": float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Auto(Settings):
    """Cells that are chosen for the main run: its T, K and accounting, at sizes that its price allows."""

    share: float = Field(
        gt=0, description="What all small runs may cost, as a share of the main run: of its device time where "
        "'topology' names hardware, else of its FLOPs."
    )
    models: int = Field(3, ge=3, le=6, description="Sizes N.")
    rounds: int = Field(3, ge=1, le=10, description="Rounds at most, each chosen by what those before leave open.")


class Sweep(Settings):
    """Small runs, each ending in its own decay: every combination of the axes. One value stands for a list of one."""

    auto: Annotated[Auto | None, BeforeValidator(_shared)] = Field(
        None, description="Choose the cells for the main run, within a share of its price (a number, or a section)."
    )
    models: Many[Model] = Field((), description="Sizes N.")
    d_pretrain: Many[TokenCount] = Field((), description="Mixture tokens D; 0: experts from step 0.")
    d_special: Many[TokenCount] = Field((), description="Domain tokens D' an expert; 0: no split.")
    tokens: Many[TokenCount] = Field((), description="T under budget.accounting; with 'split' in place of D and D'.")
    split: Many[SplitOrLaw] = Field(
        (), description="Fractions of T or tokens; law: what the law of 'law' picks for each N and T, fixed beforehand."
    )
    law: str | None = Field(None, description="law.json for split: law.")
    seeds: Many[Seed] = Field((), description="Seeds of initialisation and data order (none: the run's own).")
    zip: Many[str] = Field((), description="Axes that go in step, first with first, instead of each with each.")
    list: tuple[Sweep, ...] = Field((), description="Further sweeps, whose cells are added.")
    exclude: tuple[Sweep, ...] = Field((), description="Cells left out: those with a value given on every axis given.")

    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The axes that have values, in the order of `AXES`."""
        return {name: getattr(self, name) for name in AXES if getattr(self, name)}

    @property
    def counts_tokens(self) -> bool:
        """Whether some cells are given by T, which depends on the accounting."""
        return bool(self.tokens) or self.auto is not None or any(inner.counts_tokens for inner in self.list)

    @property
    def asks_law(self) -> bool:
        """Whether a law picks the split of some cells."""
        return "law" in self.split or any(inner.asks_law for inner in self.list)

    def check(self, where: str = "sweep") -> None:
        """Refuse what names no cells, or in two ways.

        Raises:
            ValueError: names the key.
        """
        axes = self.axes()
        if self.auto is not None:
            self._check_auto(axes, where)
        elif axes or not self.list:
            self._check_axes(axes, where)
        if where == "sweep" and self.asks_law != (self.law is not None):
            raise ValueError(f"sweep.law: {'give it for' if self.asks_law else 'goes with'} split: law")
        if where != "sweep" and self.law is not None:
            raise ValueError(f"{where}.law: one law serves the whole sweep; give it as sweep.law")
        self._check_zip(axes, where)
        for index, inner in enumerate(self.list):
            inner.check(f"{where}.list.{index}")
        for index, inner in enumerate(self.exclude):
            if inner.zip or inner.list or inner.exclude or inner.law or not inner.axes():
                raise ValueError(f"{where}.exclude.{index}: takes {', '.join(AXES)}, one at least")

    def _check_auto(self, axes: dict[str, tuple[Any, ...]], where: str) -> None:
        if where != "sweep":
            raise ValueError(f"{where}.auto: cells are chosen for the whole sweep; give it as sweep.auto")
        if more := [*axes, *(name for name in ("zip", "list", "exclude", "law") if getattr(self, name))]:
            raise ValueError(f"{where}.{more[0]}: auto chooses the cells; leave it out, or leave auto out")

    @model_serializer(mode="wrap")
    def _without_absent_axes(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value not in (None, (), [])}

    def _check_axes(self, axes: dict[str, tuple[Any, ...]], where: str) -> None:
        if "models" not in axes:
            raise ValueError(f"{where}.models: give the sizes to train")
        pairs = [pair for pair in (("d_pretrain", "d_special"), ("tokens", "split")) if set(pair) & set(axes)]
        if len(pairs) != 1 or not set(pairs[0]) <= set(axes):
            raise ValueError(f"{where}: give d_pretrain and d_special, or else tokens and split")

    def _check_zip(self, axes: dict[str, tuple[Any, ...]], where: str) -> None:
        for name in self.zip:
            if name not in axes:
                mend = did_you_mean(name, axes) if axes else "There are none."
                raise ValueError(f"{where}.zip: '{name}' is no axis that has values. {mend}")
        lengths = {name: len(axes[name]) for name in self.zip}
        if len(self.zip) == 1 or len(lengths) != len(self.zip) or len(set(lengths.values())) > 1:
            raise ValueError(f"{where}.zip: takes two or more axes of equal length, not {lengths}")
