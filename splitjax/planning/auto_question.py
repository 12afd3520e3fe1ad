"""The main run that small runs are chosen for: what they cost beside it, and which a round may choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from splitjax import law
from splitjax.config import Auto, Config, Model, UserError
from splitjax.law import Cell as LawCell
from splitjax.law.splitting.design import FRACTIONS, SHORTER
from splitjax.model import n_params
from splitjax.parallel import Topology
from splitjax.runs.cells import Clock, budget_tokens, main_cells, seed_tokens, unique_tokens
from splitjax.runs.phase_tree import Cell, Phase, grow
from splitjax.runs.phase_work import flops_of
from splitjax.runs.sweeping.sweep_rounds import Round, Rounds

from .device_time import DeviceTime


@dataclass(frozen=True)
class Question:
    """The main run that cells are chosen for.

    Attributes:
        clock: tokens in steps, K and the accounting.
        vocab_size: of the embedding; its head is most of the price of a small model.
    """

    config: Config
    clock: Clock
    vocab_size: int

    @property
    def auto(self) -> Auto:
        found = self.config.sweep and self.config.sweep.auto
        assert found
        return found

    @cached_property
    def hardware(self) -> DeviceTime | None:
        """Whose device time the share counts; None where the config names none: then FLOPs.

        Raises:
            UserError: no such topology.
        """
        tokenizer = self.config.data.tokenizer.model_copy(update={"vocab_size": self.vocab_size})
        data = self.config.data.model_copy(update={"tokenizer": tokenizer})
        return hardware_of(self.config.model_copy(update={"data": data}), self.clock.experts)

    @cached_property
    def main_flops(self) -> float:
        """Of the planned model, split at half."""
        return self.flops(self.main)

    @cached_property
    def main_price(self) -> float:
        """The same as the share counts it."""
        return self.price(self.main)

    @property
    def main(self) -> list[Cell]:
        """The planned model, split at half."""
        return [main_cells(self.config, self.clock, 0.5)["planned"]]

    @property
    def limit(self) -> float:
        """What all rounds may cost together, as the share counts it."""
        return self.auto.share * self.main_price

    def flops(self, cells: Sequence[Cell]) -> float:
        """Training FLOPs, shared trunks once."""
        return flops_of(self._phases(cells), self.config, self.clock.experts, self.vocab_size)

    def hours(self, cells: Sequence[Cell]) -> float | None:
        """Device-hours on the hardware that the config names, shared trunks once; None where it names none."""
        return None if self.hardware is None else self.hardware.hours(self._phases(cells))

    def price(self, cells: Sequence[Cell]) -> float:
        """As the share counts it: device-hours where the config names hardware, else FLOPs."""
        hours = self.hours(cells)
        return self.flops(cells) if hours is None else hours

    def _phases(self, cells: Sequence[Cell]) -> list[Phase]:
        return grow(cells, self.config.train.decay_share)

    def words(self, price: float) -> str:
        """A price for people."""
        return f"{price:.3g} {'FLOPs' if self.hardware is None else 'device-hours'}"

    @property
    def unit(self) -> str:
        """What the share is a share of."""
        return "the main run's FLOPs" if self.hardware is None else "the main run's device time"

    def spent(self, known: Rounds) -> float:
        """What the rounds so far cost, as the share counts it."""
        if self.hardware is None:
            return known.flops
        hours = [each.device_hours for each in known.rounds]
        told = [each for each in hours if each is not None]
        return sum(told) if len(told) == len(hours) else self.price(known.cells)

    def round(
        self, cells: Sequence[Cell], reason: str, before: float, after: float, known: Sequence[Cell] = ()
    ) -> Round:
        """A round with what it costs beyond the cells known.

        Args:
            before, after: standard deviation of the split fraction.
        """
        both = [*known, *cells]
        hours = self.hours(both)
        if hours is not None and known:
            hours -= self.hours(known) or 0.0
        flops = self.flops(both) - (self.flops(known) if known else 0.0)
        return Round(tuple(cells), reason, flops, before, after, hours)

    def budget(self, sizes: Mapping[str, int] | None = None, declared: Sequence[float] | None = None) -> law.Budget:
        """As the law is asked.

        Args:
            sizes: train tokens by domain, where the data are prepared.
            declared: weights of the mixture that the source declares, in the order of `sizes`.
        """
        return law.Budget(
            n_params(self.config.model), budget_tokens(self.config), self.clock.experts, self.config.budget.accounting,
            before=float(seed_tokens(self.config)),
            **(unique_tokens(self.config, sizes, declared) if sizes else {}),
        )

    def curve(self, model: Model, shorter: int, fractions: Sequence[float]) -> list[Cell]:
        """Cells on the split curve of T / `shorter`, each once; none where that T is not a step a model."""
        steps = self.clock.budget(budget_tokens(self.config) // shorter)
        return list(dict.fromkeys(Cell(model, *self.clock.split(steps, f)) for f in fractions)) if steps else []

    def candidates(self, models: Sequence[Model]) -> list[Cell]:
        """Every cell that a round may choose."""
        cells = (self.curve(model, shorter, FRACTIONS) for model in models for shorter in SHORTER)
        return list(dict.fromkeys(cell for curve in cells for cell in curve))

    def in_tokens(self, cells: Sequence[Cell]) -> list[LawCell]:
        """Cells as the law counts them."""
        quantum, before = self.clock.tokens_per_step, seed_tokens(self.config)
        return [LawCell(n_params(c.model), before + c.pretrain * quantum, c.special * quantum) for c in cells]


def hardware_of(config: Config, experts: int) -> DeviceTime | None:
    """The hardware that the config names.

    Raises:
        UserError: there is none of that name.
    """
    if config.topology is None:
        return None
    try:
        return DeviceTime(config, experts, Topology.parse(config.topology))
    except UserError as error:
        raise UserError(error.what, where="topology", mend=error.mend) from error
