"""Budget and split → cells in whole steps: what the main run trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from splitjax.config import Config, UserError, tokens_of
from splitjax.model import n_params

from .phase_tree import Cell

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

    def spendable(self, tokens: int, where: str) -> int:
        """`budget`, refused where it is not one step.

        Raises:
            UserError: names the key `where`.
        """
        if budget := self.budget(tokens):
            return budget
        raise UserError(
            f"{tokens} tokens, in steps of {self.tokens_per_step} tokens, cannot be split over {self.experts} domains",
            where=where, mend="Raise it, or lower train.batch_size or train.seq_len.",
        )

    def split(self, budget_steps: int, fraction: float) -> tuple[int, int]:
        """(D, D') in steps that spend the whole budget exactly, D nearest to `fraction` of it.

        Under `total`, D + K·D' = T, so D moves in jumps of K; under `per_model`, D + D' = T.
        """
        special = round((1 - fraction) * budget_steps / self.share)
        return budget_steps - special * self.share, special


def budget_tokens(config: Config) -> int:
    """T in tokens ("20x" is relative to the main model's non-embedding parameters)."""
    return tokens_of(config.budget.tokens, n_params(config.model))


def seed_tokens(config: Config) -> int:
    """Tokens behind the weights that the run starts from, for the law's D; 0 for fresh ones and where it is unknown."""
    return (config.seed_from.tokens or 0) if config.seed_from else 0


def mixture_shares(
    config: Config, sizes: Mapping[str, int], declared: Sequence[float] | None = None
) -> dict[str, float]:
    """What share of the trunk's tokens is each domain's.

    Args:
        sizes: train tokens, by domain.
        declared: weights that the source declares (`Manifest.weights`); `train.mixture` goes before them.

    Raises:
        UserError: `train.mixture` does not fit the domains.
    """
    own = config.train.mixture
    weights = own.of(tuple(sizes)) if own else declared or tuple(sizes.values())
    return {name: weight / sum(weights) for name, weight in zip(sizes, weights, strict=True)}


def unique_in_mixture(tokens: int, sizes: Mapping[str, int], shares: Mapping[str, float]) -> int:
    """Of so many tokens of the mixture those that are read for the first time: no domain has more than its own."""
    return min(tokens, round(sum(min(tokens * shares[name], size) for name, size in sizes.items())))


def unique_tokens(
    config: Config, sizes: Mapping[str, int], declared: Sequence[float] | None = None, tokens: int | None = None
) -> dict[str, Any]:
    """What `law.plan` must know of a corpus that a run goes through several times.

    Where the mixture has weights of its own, a domain may come again before others were read: what is unique is then
    counted at D = T.

    Args:
        sizes, declared: as for `mixture_shares`.
        tokens: T; None: of the budget.
    """
    fresh = sum(sizes.values())
    if config.train.mixture or declared:
        total = budget_tokens(config) if tokens is None else tokens
        fresh = unique_in_mixture(total, sizes, mixture_shares(config, sizes, declared))
    return {"u_pretrain": seed_tokens(config) + fresh, "u_special": dict(sizes)}


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
    budget = clock.spendable(budget_tokens(config), "budget.tokens")
    fractions = {"planned": fraction, "dense": 1.0, "80/20": CUSTOMARY}
    fractions |= {f"split at {100 * f:g} %": f for f in config.evaluate.compare}
    cells = {name: Cell(config.model, *clock.split(budget, f)) for name, f in fractions.items()}
    if config.budget.accounting == "per_model":
        cells["dense_equal_compute"] = Cell(config.model, cells["planned"].steps(clock.experts), 0)
    return cells


def over_seeds(config: Config, cells: Mapping[str, Cell]) -> dict[int, dict[str, Cell]]:
    """The models of the main run by training seed, `train.seeds` of them.

    Args:
        cells: of the first seed, the run's own, which they stay.
    """
    first = config.seed
    further = {
        seed: {name: replace(cell, seed=seed) for name, cell in cells.items()}
        for seed in range(first + 1, first + config.train.seeds)
    }
    return {first: dict(cells)} | further


def all_cells(config: Config, cells: Mapping[str, Cell]) -> list[Cell]:
    """The same in one list."""
    return [cell for models in over_seeds(config, cells).values() for cell in models.values()]
