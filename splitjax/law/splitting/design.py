"""Which small runs to make: those that narrow the split of a budget most for their price.

Laws extrapolate well in N and badly in T, so small runs lie on split curves of the main run's own T, or of half of it,
corners included, and only their N is small. Before there is a law the curves are chosen by a prior over laws; a fitted
law chooses single runs, one after another, by its draws (`cell_choice`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, TypeVar

import numpy as np

from splitjax.config import UserError, format_count

from ..fitting.correction import usual_misfit
from ..fitting.families import FAMILIES
from ..fitting.fitted import Fitted
from ..fitting.law_fit import LawFit
from . import cell_choice
from .budget import Accounting, Budget
from .prior import FAMILY_NAMES, Cell, log_losses, prior_law, prior_loss
from .view import View, best_fraction

DECAY = 0.2
"""Share of a path that decays the rate; a run without specialisation branches off its trunk that early."""
FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Splits that a small run may have."""
SHORTER = (1, 2)
"""T of the curves: the main run's own, and its half."""
SHAPES = (
    ((0.1, 0.3, 0.5, 0.7, 1.0), (0.2, 0.6, 1.0)),
    ((0.1, 0.3, 0.5, 0.7, 1.0), (0.5, 1.0)),
    ((0.1, 0.4, 0.7, 1.0), (0.5, 1.0)),
    ((0.1, 0.5, 1.0), (0.5, 1.0)),
)
"""First runs: splits of T for every size, and splits of half of T for the smallest and the largest."""
NOISE = 2e-3
"""Relative noise of a run's mean loss, until it is measured."""
_LEAST = 1e-4
Misfit = Callable[[Any, Any, Any], np.ndarray]
_MODELS, _SPAN, _SMALLEST = 3, 4.0, 1000.0
"""Sizes of first runs, the largest over the smallest, and how far the smallest may lie below the main run's N."""


@dataclass(frozen=True)
class Design:
    """Small runs.

    Attributes:
        cells: N, D and D' of each, in the order of their choice.
        flops: price of all, trunks shared by the runs of a size.
        share: the same over the main run's FLOPs, split at half.
        sd_before, sd_after: standard deviation of the split fraction without and with these runs.
    """

    cells: tuple[Cell, ...]
    flops: float
    share: float
    sd_before: float
    sd_after: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        cells = [{"n_params": c.n_params, "d_pretrain": c.d_pretrain, "d_special": c.d_special} for c in self.cells]
        return {"cells": cells, "flops": self.flops, "share": self.share, "sd_before": self.sd_before,
                "sd_after": self.sd_after}


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


def main_price(budget: Budget) -> float:
    """Training FLOPs of the main run split at half, 6 N per token."""
    d, s = budget.spend(np.array([0.5]))
    return 6.0 * budget.n_params * float(d[0] - budget.before + budget.experts * s[0])


def propose(
    n_params: float, tokens: float, experts: int, share: float, accounting: Accounting = "total",
    law: LawFit | None = None,
) -> Design:
    """The small runs within `share` of the main run's FLOPs that narrow its split most.

    Args:
        n_params, tokens, experts, accounting: of the main run, as `plan` takes them.
        share: price of all, over that of the main run (6 N per token, trunks shared).
        law: with draws: further runs at the sizes of its table; None: first runs, by a prior over laws.

    Raises:
        UserError: the share pays for no run that tells anything, or the law has no draws or no D'.
    """
    if law is not None and not law.table.has_special:
        raise UserError("the law has no D' (its table had no d_special column)", where="propose")
    budget = Budget(n_params, tokens, experts, accounting)
    limit = share * main_price(budget)
    return _first(limit, budget) if law is None else _further(limit, budget, law)


def next_run(law: LawFit, budget: Budget, flops: float) -> NextRun:
    """The one run within `flops` that narrows the split of `budget` most, whatever its price.

    Raises:
        UserError: no draws, or no run within the price.
    """
    cells, prices, draws, noise = _asked(law, budget)
    dear = np.asarray(prices) > flops
    if dear.all():  # also where the law predicts none
        raise UserError(f"no run on the grid of the table costs {flops:.3g} FLOPs or less", where="next-run")
    left = np.where(dear, np.inf, cell_choice.each_sd_after(draws, noise))
    best = int(np.argmin(left))
    return NextRun(cells[best], prices[best], draws.sd, float(left[best]))


def _further(limit: float, budget: Budget, law: LawFit) -> Design:
    cells, prices, draws, noise = _asked(law, budget)
    if not cells:
        raise UserError("the law predicts none of the runs that would tell", where="propose")
    found = cell_choice.choose(draws, prices, limit, noise)
    if not found.cells:
        what = f"no run for {limit:.3g} FLOPs would narrow the split" if min(prices) <= limit else \
            f"{limit:.3g} FLOPs pay for no run (the cheapest: {min(prices):.3g})"
        raise UserError(what, where="propose")
    chosen = tuple(cells[i] for i in found.cells)
    flops = price(chosen, budget.experts)
    return Design(chosen, flops, flops / main_price(budget), found.sd_before, found.sd_after)


def _asked(law: LawFit, budget: Budget) -> tuple[list[Cell], list[float], cell_choice.Draws, float]:
    """Candidates, the price of each alone, the law's draws of all, and the noise of a run."""
    if not law.chosen.drawn:
        raise UserError("the law has no bootstrap draws", where="law", mend="Fit it with --bootstrap 200.")
    law.check_n(law.ranges["n_params"][0])
    cells = predictable(law, _candidates(law, budget))
    prices = [price([cell], budget.experts, budget.before) for cell in cells]
    return cells, prices, drawn(law, budget, cells), noise_of(law)


def predictable(law: LawFit, cells: Sequence[Cell]) -> list[Cell]:
    """Those that the law predicts: some know no run without pretraining, or without specialisation."""
    return [cell for cell in cells if np.all(law.chosen.finite(cell.d_pretrain, cell.d_special))]


def noise_of(law: LawFit) -> float:
    """Relative noise of a run's mean loss, as far as a law can tell it."""
    correction = law.chosen.correction
    return max(correction.kernel.noise if correction else NOISE, _LEAST)


def _candidates(law: LawFit, budget: Budget) -> list[Cell]:
    """At N of the table: split curves of T and half of it; D and D' of the table's range, with zeros."""
    sizes = np.unique(law.table.n_params)
    sizes = sizes if len(sizes) <= 6 else np.geomspace(sizes[0], sizes[-1], 6)
    tokens = []
    for name in ("d_pretrain", "d_special"):
        low, high = law.ranges[name]
        tokens.append([0.0, *np.geomspace(low, 2 * high, 5)])
    grid = [Cell(float(n), float(d), float(s)) for n, d, s in product(sizes, *tokens)
            if d >= budget.before and d + s > budget.before]
    curves = [cell for n in sizes for shorter in SHORTER for cell in _curve(budget, n, shorter, FRACTIONS)]
    return list(dict.fromkeys([*curves, *grid]))


def _curve(budget: Budget, n_params: float, shorter: int, fractions: Sequence[float]) -> list[Cell]:
    """Runs on the split curve of T / `shorter`."""
    d, s = budget.spend(np.asarray(fractions))
    d = budget.before + (d - budget.before) / shorter
    return [Cell(float(n_params), float(a), float(b)) for a, b in zip(d, s / shorter, strict=True)]


def _first(limit: float, budget: Budget) -> Design:
    found = best_shape(
        lambda full, half: _largest(limit, budget, full, half), lambda cells: prior(budget, cells)
    )
    if found is None:
        raise UserError(f"{format_count(limit)} FLOPs do not pay for {_MODELS} small models within {_SMALLEST:,.0f} "
                        "times of the main run's N", where="propose", mend="Give more.")
    cells, draws, after = found
    flops = price(cells, budget.experts)
    return Design(tuple(cells), flops, flops / main_price(budget), draws.sd, after)


C = TypeVar("C")


def best_shape(
    made: Callable[[Sequence[float], Sequence[float]], list[C] | None], prior: Callable[[list[C]], cell_choice.Draws]
) -> tuple[list[C], cell_choice.Draws, float] | None:
    """Of all shapes of first runs the one that leaves the split narrowest: its runs, draws, and what it leaves.

    Args:
        made: runs of a shape, from its splits of T and of half of T; None where they cost too much.
        prior: draws of the split and of the losses of runs.
    """
    best: tuple[list[C], cell_choice.Draws, float] | None = None
    for full, half in SHAPES:
        cells = made(full, half)
        if not cells:
            continue
        draws = prior(cells)
        after = cell_choice.sd_after(draws, range(len(cells)), NOISE)
        if best is None or after < best[2]:
            best = cells, draws, after
    return best


def _largest(limit: float, budget: Budget, full: Sequence[float], half: Sequence[float]) -> list[Cell] | None:
    """The curves of this shape with the largest N that `limit` pays for; None where that is too small to tell."""

    def cells(top: float) -> list[Cell]:
        sizes = [float(f"{n:.2g}") for n in np.geomspace(top / _SPAN, top, _MODELS)]
        curves = [cell for n in sizes for cell in _curve(budget, n, 1, full)]
        return curves + [cell for n in (sizes[0], sizes[-1]) for cell in _curve(budget, n, 2, half)]

    # Prices grow as N.
    top = min(limit / price(cells(1e6), budget.experts) * 1e6, 0.5 * budget.n_params)
    if top / _SPAN < budget.n_params / _SMALLEST:
        return None
    found = cells(top)
    return found if price(found, budget.experts) <= 1.02 * limit else cells(0.97 * top)


def price(cells: Sequence[Cell], experts: int, before: float = 0.0) -> float:
    """Training FLOPs (6 N per token): a trunk a size, a decay a run, and `experts` specialised models a run.

    Args:
        before: tokens of D behind the seed, which nobody pays for.
    """
    total = 0.0
    for n in {cell.n_params for cell in cells}:
        own = [cell for cell in cells if cell.n_params == n]
        tokens = max(cell.d_pretrain for cell in own) - before
        for cell in own:
            decay = min(cell.d_pretrain - before, max(0.0, DECAY * (cell.d_pretrain + cell.d_special) - cell.d_special))
            tokens += decay + experts * cell.d_special
        total += 6.0 * n * tokens
    return total


def drawn(law: LawFit, budget: Budget, cells: Sequence[Cell]) -> cell_choice.Draws:
    """Draws of a fitted law.

    Args:
        law: with bootstrap draws.
        budget: whose split is asked for.
        cells: candidates.
    """
    weights = {domain: 1.0 / len(law.domains) for domain in law.domains}
    split = View(law.chosen, budget, weights).best(draws=True)
    n, d, s = (np.array([getattr(c, name) for c in cells]) for name in ("n_params", "d_pretrain", "d_special"))
    each = [law.chosen.losses(n, d, s, domain, draws=True) for domain in law.domains]
    return _finite(split, np.log(np.mean(each, 0)))


def prior(budget: Budget, cells: Sequence[Cell], seed: int = 0) -> cell_choice.Draws:
    """Draws of plausible laws, before anything was trained, each off by a usual misfit.

    The misfit is what makes a size nearer to the main run's tell more of it than a far one, beyond any law's form.
    """
    rng = np.random.default_rng(seed)
    split, losses = [], []
    n, d, s = (np.array([getattr(c, name) for c in cells]) for name in ("n_params", "d_pretrain", "d_special"))
    for i, name in enumerate(FAMILY_NAMES):
        one = prior_law(FAMILIES[name], budget, rng)
        off = usual_misfit(one.drawn, seed + i, float(min(c for c in (*d, *s) if c > 0)))
        split.append(best_fraction(partial(_off_loss, one, budget, off)))
        losses.append(log_losses([one], cells, "") + off(n, d, s))
    return _finite(np.concatenate(split), np.concatenate(losses))


def _off_loss(one: Fitted, budget: Budget, off: Misfit, fraction: np.ndarray) -> np.ndarray:
    """Losses along a budget, off by a misfit, [draws, points]."""
    return prior_loss(one, budget, fraction) * np.exp(off(budget.n_params, *budget.spend(fraction)))


def _finite(split: np.ndarray, losses: np.ndarray) -> cell_choice.Draws:
    at = np.isfinite(split) & np.isfinite(losses).all(1)
    return cell_choice.Draws(split[at], losses[at])
