"""Which small runs to make: the grid, or the one next run, that narrows the split most for its price.

Both are Bayesian linear designs. Draws of laws (the bootstrap of a fitted law, or a prior where there is none) give
joint draws of the best split D*/T and of the loss each candidate run would show. Seeing losses y with noise sigma
then leaves the variance

    Var(f | y) = Var(f) - Cov(f, y) (Cov(y, y) + sigma^2 I)^-1 Cov(y, f)

of the split f. No derivatives of the law are needed, corners are no exception, and where families disagree the runs
that tell them apart come out first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from splitjax.config import UserError, format_count

from ..fitting.families import FAMILIES
from ..fitting.law_fit import LawFit
from .budget import Budget
from .prior import FAMILY_NAMES, Cell, log_losses, prior_law, prior_loss
from .view import View, best_fraction

DECAY = 0.2
"""Share of a path that decays the rate; a run without specialisation branches off its trunk that early."""


@dataclass(frozen=True)
class Design:
    """A grid of small runs.

    Attributes:
        cells: N, D and D' of each run.
        flops: price of all, trunks shared by the runs of a size.
        sd_before, sd_after: standard deviation of the split fraction without and with these runs.
    """

    cells: tuple[Cell, ...]
    flops: float
    sd_before: float
    sd_after: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        cells = [{"n_params": c.n_params, "d_pretrain": c.d_pretrain, "d_special": c.d_special} for c in self.cells]
        return {"cells": cells, "flops": self.flops, "sd_before": self.sd_before, "sd_after": self.sd_after}


@dataclass(frozen=True)
class NextRun:
    """One more run: its cell, its price, and the standard deviation of the split before and after."""

    cell: Cell
    flops: float
    sd_before: float
    sd_after: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        c = self.cell
        return {
            "n_params": c.n_params, "d_pretrain": c.d_pretrain, "d_special": c.d_special, "flops": self.flops,
            "sd_before": self.sd_before, "sd_after": self.sd_after,
        }


def next_run(law: LawFit, budget: Budget, flops: float) -> NextRun:
    """The run within `flops` that narrows the split of `budget` most, by the draws of all families that are combined.

    Args:
        law: a law with bootstrap draws.
        budget: of the main run.
        flops: training FLOPs that the run may cost, its experts included.

    Raises:
        UserError: no draws, or no run within the price.
    """
    fitted = [law.named(name) for name in law.weights if law.named(name).drawn]
    if not fitted:
        raise UserError("the law has no bootstrap draws", where="law", mend="Fit it with --bootstrap 200.")
    law.check_n(law.ranges["n_params"][0])
    cells = [cell for cell in _candidates(law) if price([cell], budget.experts) <= flops]
    if not cells:
        raise UserError(f"no run on the grid of the table costs {flops:.3g} FLOPs or less", where="next-run")
    weights = {domain: 1.0 / len(law.domains) for domain in law.domains}
    split = np.concatenate([View(one, budget, weights).best(draws=True) for one in fitted])
    losses = np.stack([log_losses(fitted, cells, domain) for domain in law.domains], -1)
    losses, cells, finite = _predictable(losses, cells)
    noise = max(law.chosen.mre, 1e-4) * np.sqrt(np.pi / 2)
    left = np.array([posterior_variance(split[finite], losses[finite, c], noise) for c in range(len(cells))])
    best = int(np.argmin(left))
    before = float(split.std())
    return NextRun(cells[best], price([cells[best]], budget.experts), before, float(np.sqrt(left[best])))


def _candidates(law: LawFit) -> list[Cell]:
    """N of the table; D and D' of its range, reaching twice beyond it, with zeros."""
    tokens = []
    for name in ("d_pretrain", "d_special"):
        low, high = law.ranges[name]
        tokens.append([0.0, *np.geomspace(low, 2 * high, 9)])
    sizes = np.unique(law.table.n_params)
    sizes = sizes if len(sizes) <= 6 else np.geomspace(sizes[0], sizes[-1], 6)
    return [Cell(float(n), float(d), float(s)) for n, d, s in product(sizes, *tokens) if d + s > 0]


def _predictable(losses: np.ndarray, cells: list[Cell]) -> tuple[np.ndarray, list[Cell], np.ndarray]:
    """Only cells that all families predict, only draws that are finite there."""
    able = np.isfinite(losses).any(2).mean(0) > 0.99
    losses = losses[:, able]
    return losses, [c for c, keep in zip(cells, able, strict=True) if keep], np.isfinite(losses).all((1, 2))


def posterior_variance(split: np.ndarray, losses: np.ndarray, noise: float) -> float:
    """Variance of the split that is left once log losses [draws, runs] were seen with noise."""
    f, y = split - split.mean(), losses - losses.mean(0)
    covariance = y.T @ y / len(f) + noise**2 * np.eye(y.shape[1])
    shared = y.T @ f / len(f)
    return max(float(f @ f / len(f) - shared @ np.linalg.solve(covariance, shared)), 0.0)


def price(cells: Sequence[Cell], experts: int, flops_per_token: float = 6.0) -> float:
    """Training FLOPs (6 N per token): a trunk a size, a decay a run, and `experts` specialised models a run."""
    total = 0.0
    for n in {cell.n_params for cell in cells}:
        own = [cell for cell in cells if cell.n_params == n]
        tokens = max(cell.d_pretrain for cell in own)
        for cell in own:
            decay = min(cell.d_pretrain, max(0.0, DECAY * (cell.d_pretrain + cell.d_special) - cell.d_special))
            tokens += decay + experts * cell.d_special
        total += flops_per_token * n * tokens
    return total


def propose(
    flops: float, budget: Budget, *, noise: float = 0.01, family: str | None = None, seed: int = 0
) -> Design:
    """The grid of small runs within `flops` that narrows the split of `budget` most, by a broad prior over laws.

    Grids have 3 or 4 N, several D and D', and cells with D = 0 and D' = 0.

    Args:
        flops: what all small runs may cost together (6 N per token, trunks shared).
        budget: of the main run.
        noise: relative noise of a run's loss.
        family: a family to assume; None for several.
        seed: of the prior's draws.

    Raises:
        UserError: so little that the largest model of every grid is below 1,000 parameters.
    """
    rng = np.random.default_rng(seed)
    grids = [grid for shape in _SHAPES if (grid := _scaled(shape, flops, budget)) is not None]
    if not grids:
        raise UserError(f"{format_count(flops)} FLOPs do not pay for a grid", where="flops", mend="Give more.")
    best: Design | None = None
    families = [FAMILIES[name] for name in (FAMILY_NAMES if family is None else (family,))]
    prior = [prior_law(one, budget, rng) for one in families]
    split = np.concatenate([best_fraction(partial(prior_loss, one, budget)) for one in prior])
    for cells in grids:
        usable = [c for c in cells if all(f.finite(np.array(c.d_pretrain), np.array(c.d_special)) for f in families)]
        losses = log_losses(prior, usable, "")
        finite = np.isfinite(losses).all(1)
        after = float(np.sqrt(posterior_variance(split[finite], losses[finite], noise)))
        if best is None or after < best.sd_after:
            best = Design(tuple(cells), price(cells, budget.experts), float(split.std()), after)
    assert best is not None
    return best


_SHAPES = tuple(product((3, 4), (8.0, 32.0), (3, 4), (2, 3), (5.0, 20.0, 80.0), (0.125, 0.5, 2.0)))
"""How many N, their span, how many D and D' above 0, largest D per N (of the middle N), largest D' per largest D."""


def _scaled(shape: tuple[Any, ...], flops: float, budget: Budget) -> list[Cell] | None:
    """The grid of a shape that costs `flops`; its N are at most the main model's."""
    count, span, n_d, n_s, ratio, share = shape

    def grid(largest: float) -> list[Cell]:
        sizes = np.geomspace(largest / span, largest, count)
        most = ratio * float(np.sqrt(sizes[0] * sizes[-1]))
        d = [0.0, *np.geomspace(most / 4 ** (n_d - 1), most, n_d)]
        s = [0.0, *np.geomspace(most * share / 4 ** (n_s - 1), most * share, n_s)]
        return [Cell(round(n), round(a), round(b)) for n, a, b in product(sizes, d, s) if a + b > 0]

    # FLOPs grow as the square of the scale.
    largest = 1e6 * float(np.sqrt(flops / price(grid(1e6), budget.experts)))
    largest = min(largest, budget.n_params)
    return grid(largest) if largest / span >= 1e3 else None
