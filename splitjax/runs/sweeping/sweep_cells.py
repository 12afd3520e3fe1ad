"""A sweep as a value → its points → cells in whole steps, each once, sorted by id."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from splitjax.config import Config, Model, PerParam, Sweep, UserError, tokens_of
from splitjax.model import n_params

from ..cells import Clock
from ..phase_tree import Cell

Pick = Callable[[Model, int], float]
"""(model, T in tokens) → the split fraction that a law picks."""


class Point(NamedTuple):
    """One combination of the axes, as the config gives it; None where an axis is not used."""

    models: Model
    d_pretrain: int | PerParam | None = None
    d_special: int | PerParam | None = None
    tokens: int | PerParam | None = None
    split: float | int | str | None = None
    seeds: int | None = None

    @property
    def size(self) -> int:
        """N, which counts per parameter ("20x") are relative to."""
        return n_params(self.models)

    def matches(self, left_out: Mapping[str, tuple[Any, ...]]) -> bool:
        """Whether it has one of the values given on every axis given, counts compared as tokens of its model."""
        return all(self._plain(name, getattr(self, name)) in {self._plain(name, value) for value in values}
                   for name, values in left_out.items())

    def _plain(self, name: str, value: Any) -> Any:
        return tokens_of(value, self.size) if name in ("d_pretrain", "d_special", "tokens") and value else value


def points(sweep: Sweep, where: str = "sweep") -> list[Point]:
    """Every combination, axes in `zip` in step, then those of `list`, without those of `exclude`.

    Raises:
        UserError: an entry of `exclude` leaves nothing out: most likely a typing error.
    """
    axes = sweep.axes()
    in_step = [[dict(zip(sweep.zip, row, strict=True)) for row in zip(*map(axes.get, sweep.zip), strict=True)]]
    crossed = [[{name: value} for value in values] for name, values in axes.items() if name not in sweep.zip]
    parts = (in_step if sweep.zip else []) + crossed
    found = [Point(**_merged(row)) for row in itertools.product(*parts)] if parts else []
    for index, inner in enumerate(sweep.list):
        found += points(inner, f"{where}.list.{index}")
    for index, inner in enumerate(sweep.exclude):
        kept = [point for point in found if not point.matches(inner.axes())]
        if len(kept) == len(found):
            raise UserError("leaves no cell out", where=f"{where}.exclude.{index}", mend="Mend it or remove it.")
        found = kept
    return found


def sweep_cells(config: Config, clock: Clock, pick: Pick | None = None) -> list[Cell]:
    """The cells of the sweep; what is not one step long is left out.

    Args:
        pick: the law's split, where the sweep asks for it.

    Raises:
        UserError: a T that cannot be split, a split beyond its T, or an exclusion that leaves nothing out.
    """
    if config.sweep is None:
        return []
    steps = ((point, *_steps(point, clock, pick)) for point in points(config.sweep))
    cells = {
        Cell(point.models, pretrain, special, None if point.seeds == config.seed else point.seeds)
        for point, pretrain, special in steps if pretrain + special
    }
    return sorted(cells, key=lambda cell: cell.id)


def budgets(config: Config) -> list[tuple[Model, int]]:
    """(model, T in tokens) of the cells whose split a law picks, each once."""
    found = points(config.sweep) if config.sweep else []
    asked = ((point.models, tokens_of(point.tokens or 0, point.size)) for point in found if point.split == "law")
    return list(dict.fromkeys(asked))


def _steps(point: Point, clock: Clock, pick: Pick | None) -> tuple[int, int]:
    """D and D' in steps."""
    if point.split is None:
        pretrain, special = (clock.steps(tokens_of(d or 0, point.size)) for d in (point.d_pretrain, point.d_special))
        return pretrain, special
    tokens = tokens_of(point.tokens or 0, point.size)
    budget = clock.spendable(tokens, "sweep.tokens")
    if point.split == "law":
        if pick is None:
            raise ValueError("a sweep with split: law needs the law's picks")
        return clock.split(budget, pick(point.models, tokens))
    if isinstance(point.split, int) and point.split > tokens:
        raise UserError(f"{point.split} tokens exceed a budget of {tokens}", where="sweep.split")
    return clock.split(budget, point.split / tokens if isinstance(point.split, int) else float(point.split))


def _merged(row: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for part in row for name, value in part.items()}
