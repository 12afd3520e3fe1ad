"""Config and split → cells: what the sweep and the main run train, in whole steps."""

from __future__ import annotations

from dataclasses import dataclass

from splitjax.config import Config, UserError, tokens_of
from splitjax.model import n_params

from .tree import Cell

CUSTOMARY = 0.8
"""The split most teams use by habit; always trained as a baseline."""


@dataclass(frozen=True)
class Clock:
    """Tokens ↔ steps, for one recipe."""

    tokens_per_step: int
    experts: int
    accounting: str

    @classmethod
    def of(cls, config: Config, experts: int) -> Clock:
        return cls(config.train.batch_size * config.train.seq_len, experts, config.budget.accounting)

    def steps(self, tokens: int) -> int:
        """Whole steps, to the nearest; never 0 for a positive count."""
        return max(1, round(tokens / self.tokens_per_step)) if tokens else 0

    @property
    def share(self) -> int:
        """What a step of D' costs of T: K under `total`, 1 under `per_model`."""
        return self.experts if self.accounting == "total" else 1

    def budget(self, tokens: int) -> int:
        """T in steps; under `total` a multiple of K, so that every split spends exactly the same."""
        return self.steps(tokens) // self.share * self.share

    def split(self, budget_steps: int, fraction: float) -> tuple[int, int]:
        """(D, D') in steps that spend the whole budget exactly, D nearest to `fraction` of it.

        Under `total`, D + K·D' = T, so D moves in jumps of K; under `per_model`, D + D' = T.
        """
        special = round((1 - fraction) * budget_steps / self.share)
        return budget_steps - special * self.share, special


def budget_tokens(config: Config) -> int:
    """T in tokens ("20x" is relative to the main model's non-embedding parameters)."""
    return tokens_of(config.budget.tokens, n_params(config.model))


def sweep_cells(config: Config, clock: Clock) -> list[Cell]:
    """Every model × D × D' of the sweep with D + D' ≥ min_path, each once after rounding to steps, sorted by id."""
    if config.sweep is None:
        return []
    cells = set()
    for model in config.sweep.models:
        size = n_params(model)
        for d_pretrain in config.sweep.d_pretrain:
            for d_special in config.sweep.d_special:
                pretrain, special = (clock.steps(tokens_of(d, size)) for d in (d_pretrain, d_special))
                if (pretrain + special) * clock.tokens_per_step >= max(config.sweep.min_path, 1):
                    cells.add(Cell(model, pretrain, special))
    return sorted(cells, key=lambda cell: cell.id)


def explicit_fraction(config: Config) -> float | None:
    """`split` of the config as a fraction of T, or None where the plan decides."""
    if config.split is None or isinstance(config.split, float):
        return config.split
    total = budget_tokens(config)
    if config.split > total:
        raise UserError(f"split={config.split} tokens exceeds the budget of {total}", where="split")
    return config.split / total


def main_cells(config: Config, clock: Clock, fraction: float) -> dict[str, Cell]:
    """The models of the main run by name: planned, dense, 80/20 and those asked for in `evaluate.compare`.

    All spend the same T under the accounting. Under `per_model`, `dense_equal_compute` spends what
    the planned experts cost together, D + K·D'.
    """
    budget = clock.budget(budget_tokens(config))
    if not budget:
        raise UserError(
            f"{budget_tokens(config)} tokens, in steps of {clock.tokens_per_step} tokens, cannot be split over "
            f"{clock.experts} domains",
            where="budget.tokens",
            mend="Raise it, or lower train.batch_size or train.seq_len.",
        )
    fractions = {"planned": fraction, "dense": 1.0, "80/20": CUSTOMARY}
    fractions |= {f"split at {100 * f:g} %": f for f in config.evaluate.compare}
    cells = {name: Cell(config.model, *clock.split(budget, f)) for name, f in fractions.items()}
    if config.budget.accounting == "per_model":
        cells["dense_equal_compute"] = Cell(config.model, cells["planned"].steps(clock.experts), 0)
    return cells
