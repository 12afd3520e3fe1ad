"""A sweep that chooses its cells for the main run: small models on the main run's own D and D', within a price.

Laws extrapolate well in N and badly in T, so every cell lies on a split curve of T or half of it, corners included,
and only N is small. The first round is chosen by a prior; each later one by what narrows the split most for its price,
given the law of all rounds before. The sweep ends when the split is known to within its flat region, or nothing that
the price allows is worth a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np

from splitjax import law
from splitjax.config import Auto, Config, Model, UserError, format_count
from splitjax.law import Cell as LawCell
from splitjax.law.splitting import cell_choice, design
from splitjax.law.splitting.design import FRACTIONS, NOISE, SHORTER, best_shape
from splitjax.law.splitting.limits import COVERED
from splitjax.model import n_params
from splitjax.parallel import hosts
from splitjax.runs.cells import Clock, budget_tokens, main_cells, seed_tokens, unique_tokens
from splitjax.runs.job import Job
from splitjax.runs.phase_tree import Cell, grow
from splitjax.runs.phase_work import flops_of
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.sweeping.sweep_rounds import Round, Rounds

from .small_models import family, ladder

FIRST = 0.7
"""Share of the price that the first of several rounds may take."""
NEAR_UNIGRAM = 0.95
"""A size whose best loss is above this share of the unigram entropy has learned too little to tell anything."""


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
    def main_flops(self) -> float:
        """Of the planned model, split at half."""
        return self.price([main_cells(self.config, self.clock, 0.5)["planned"]])

    @property
    def limit(self) -> float:
        """FLOPs that all rounds may cost together."""
        return self.auto.share * self.main_flops

    def price(self, cells: Sequence[Cell]) -> float:
        """Training FLOPs, shared trunks once."""
        return flops_of(grow(cells, self.config.train.decay_share), self.config, self.clock.experts, self.vocab_size)

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


def first(asked: Question) -> Rounds:
    """The first round: of all ladders of sizes and shapes of curves within the price, the one that a prior likes best.

    Raises:
        UserError: the price pays for none; names what the cheapest costs.
    """
    models, limit = family(asked.config.model), asked.limit * (FIRST if asked.auto.rounds > 1 else 1.0)
    ladders: dict[tuple[Cell, ...], list[Model]] = {}
    cheapest = float("inf")

    def made(full: Sequence[float], half: Sequence[float]) -> list[Cell] | None:
        nonlocal cheapest
        found, price = _largest(asked, models, full, half, limit)
        cheapest = min(cheapest, price)
        if found:
            ladders[tuple(found[1])] = found[0]
        return found[1] if found else None

    best = best_shape(made, lambda cells: design.prior(asked.budget(), asked.in_tokens(cells)))
    if best is None:
        share = cheapest / asked.main_flops / (FIRST if asked.auto.rounds > 1 else 1.0)
        what = f"{asked.auto.share:g} of the main run's FLOPs do not pay for {asked.auto.models} small models"
        mend = f"Give {ceil(100 * share) / 100:g} or more, or a larger main run."
        raise UserError(what, where="sweep.auto.share", mend=mend)
    cells, draws, after = best
    sizes = ladders[tuple(cells)]
    told = ", ".join(format_count(n_params(each)) for each in sizes)
    one = Round(tuple(cells), f"by a prior: curves of T and T/2 at N = {told}", asked.price(cells), draws.sd, after)
    return Rounds(tuple(asked.candidates(sizes)), (one,))


def _largest(
    asked: Question, models: list[Model], full: Sequence[float], half: Sequence[float], limit: float
) -> tuple[tuple[list[Model], list[Cell]] | None, float]:
    """The ladder with the largest models whose round of this shape is within `limit`; the price of the smallest.

    None lies so far below the main model that a plan would refuse it.
    """
    cheapest = float("inf")
    for top in reversed(range(len(models))):
        steps = ladder(models, top, asked.auto.models)
        if steps is None or n_params(asked.config.model) > COVERED * n_params(steps[-1]):
            continue
        cells = [cell for model in steps for cell in asked.curve(model, 1, full)]
        cells += [cell for model in (steps[0], steps[-1]) for cell in asked.curve(model, 2, half)]
        cells = list(dict.fromkeys(cells))
        price = asked.price(cells)
        cheapest = min(cheapest, price)
        if price <= limit:
            return (steps, cells), cheapest
    return None, cheapest


def further(
    asked: Question, known: Rounds, fitted: law.LawFit, sizes: Mapping[str, int], unigram: float,
    declared: Sequence[float] | None = None,
) -> Rounds:
    """The rounds with one more, or ended with the reason.

    Args:
        fitted: the law of all rounds so far.
        sizes, declared: as for `Question.budget`.
        unigram: entropy of the validation text, nats a token.
    """
    budget = asked.budget(sizes, declared)
    told = law.plan(
        fitted, budget.n_params, budget.tokens, budget.experts, budget.accounting, extrapolate=True,
        u_pretrain=budget.u_pretrain, u_special=budget.u_special, before=budget.before,
    )
    low, high = told.interval
    if len(known.rounds) > 1 and told.flat_region[0] <= low and high <= told.flat_region[1]:
        return replace(known, ended=f"the split is known: {low:.0%} to {high:.0%}, all as good as the best")
    deaf = _deaf(fitted, unigram)
    cells = [c for c in known.foreseen if c not in set(known.cells) and n_params(c.model) not in deaf]
    cells = [c for c in cells if design.predictable(fitted, asked.in_tokens([c]))]
    left = asked.auto.rounds - len(known.rounds)
    found, price = _worth(asked, known, fitted, budget, cells)
    if not found.cells:
        return replace(known, ended="no run that the price allows would narrow the split")
    if left <= 0:
        worth = f"from {found.sd_before:.1%} to {found.sd_after:.1%} of T for {price(found.cells):.3g} FLOPs"
        done = "its one round is" if len(known.rounds) == 1 else f"all {len(known.rounds)} rounds are"
        return replace(known, ended=f"{done} done; one more would narrow the split {worth}")
    chosen = tuple(cells[i] for i in found.cells)
    reason = f"the split is {low:.0%} to {high:.0%}; these runs should narrow it most for their price"
    reason += f" (left out, near the unigram entropy: N = {', '.join(map(format_count, sorted(deaf)))})" if deaf else ""
    one = Round(chosen, reason, price(found.cells), found.sd_before, found.sd_after)
    return replace(known, rounds=(*known.rounds, one))


def unlearned(asked: Question, known: Rounds, refusal: UserError) -> Rounds:
    """The rounds with one more, where those so far make no law that could be asked: the prior chooses again.

    Raises:
        UserError: `refusal`, where no round is left or none is paid for.
    """
    cells = [c for c in known.foreseen if c not in set(known.cells)]
    if len(known.rounds) >= asked.auto.rounds:
        raise refusal
    found, price = _worth(asked, known, None, asked.budget(), cells)
    if not found.cells:
        raise refusal
    reason = f"by the prior: these runs make no law yet ({refusal})"
    one = Round(tuple(cells[i] for i in found.cells), reason, price(found.cells), found.sd_before, found.sd_after)
    return replace(known, rounds=(*known.rounds, one))


def _worth(
    asked: Question, known: Rounds, fitted: law.LawFit | None, budget: law.Budget, cells: Sequence[Cell]
) -> tuple[cell_choice.Choice, Callable[[Sequence[int]], float]]:
    """What one more round would choose among `cells`, and the price of some of them beside those known.

    Without a law a prior chooses.
    """
    so_far = asked.price(known.cells)

    def price(some: Sequence[int]) -> float:
        return asked.price([*known.cells, *(cells[i] for i in some)]) - so_far

    if not cells:
        return cell_choice.Choice((), 0.0, 0.0), price
    prices = [price([i]) for i in range(len(cells))]
    in_tokens = asked.in_tokens(cells)
    draws, noise = ((design.drawn(fitted, budget, in_tokens), design.noise_of(fitted)) if fitted is not None
                    else (design.prior(budget, in_tokens), NOISE))
    return cell_choice.choose(draws, prices, _allowance(asked, known, min(prices)), noise), price


def _allowance(asked: Question, known: Rounds, cheapest: float) -> float:
    """FLOPs of the next round: an even share of what is left, one run at least where that is paid for."""
    rest, left = asked.limit - known.flops, asked.auto.rounds - len(known.rounds)
    if left <= 0:  # only told: what one more would be worth
        return asked.limit / asked.auto.rounds
    return min(max(rest / left, cheapest), rest)


def _deaf(fitted: law.LawFit, unigram: float) -> set[int]:
    """Sizes whose best run is hardly better than the frequencies of single tokens."""
    table = fitted.table
    if table.run is None:
        return set()
    losses: dict[tuple[int, str], list[float]] = {}
    for n, run, loss in zip(table.n_params, table.run, table.loss, strict=True):
        losses.setdefault((int(n), str(run)), []).append(float(loss))
    best: dict[int, float] = {}
    for (n, _), each in losses.items():
        best[n] = min(best.get(n, np.inf), float(np.mean(each)))
    return {n for n, loss in best.items() if loss > NEAR_UNIGRAM * unigram}


def question_of(job: Job) -> Question:
    """The main run of a job; before its data are prepared, with the vocabulary that the config asks for."""
    return Question(job.config, job.clock, vocab_of(job))


def vocab_of(job: Job) -> int:
    """Rows of the embedding; before the data are prepared as many as the config asks for."""
    prepared = (job.folder.data / "manifest.json").exists()
    return job.vocab_size if prepared else job.config.data.tokenizer.vocab_size


def told(job: Job) -> list[dict[str, Any]]:
    """The rounds so far as plain values; `share`: of the main run's FLOPs."""
    whole = question_of(job).main_flops
    rounds = job.rounds_so_far.rounds
    return [
        {"cells": len(each.cells), "flops": each.flops, "share": each.flops / whole, "reason": each.reason}
        for each in rounds
    ]


def rounds_to_come(config: Config, known: Rounds | None) -> int:
    """Rounds that may follow those known; 0 of a sweep that chooses nothing."""
    auto = config.sweep and config.sweep.auto
    return max(auto.rounds - len(known.rounds), 0) if auto and known is not None and known.ended is None else 0


def fits_to_come(config: Config, known: Rounds | None) -> int:
    """How often the law is still fitted to choose a round, or to end the sweep."""
    chooses = config.sweep and config.sweep.auto and known is not None and known.ended is None
    return rounds_to_come(config, known) + 1 if chooses else 0


def rounds_of(config: Config, clock: Clock, folder: RunFolder, vocab_size: int) -> Rounds | None:
    """The rounds of a sweep that chooses its cells: those on disk, or what the first would be; None for any other."""
    if config.sweep is None or config.sweep.auto is None:
        return None
    return Rounds.load(folder.rounds) or first(Question(config, clock, vocab_size))


def begin(job: Job, *, write: bool = True) -> None:
    """Give a job its rounds so far: those of sweep.json, or the first, which is then written.

    Raises:
        UserError: the price pays for no first round.
    """

    def made() -> None:
        if Rounds.load(job.folder.rounds) is None:
            first(question_of(job)).save(job.folder.rounds)

    if write:
        hosts.from_first(made)
    job.rounds = Rounds.load(job.folder.rounds) or first(question_of(job))


def go_on(job: Job, fitted: Callable[[], law.LawFit]) -> bool:
    """Choose the next round, written before it starts; False where the sweep has ended.

    Args:
        fitted: makes the law of all rounds so far; called on the first process.
    """

    def made() -> None:
        known = Rounds.load(job.folder.rounds)
        assert known is not None
        if known.ended is None:
            asked, manifest = question_of(job), job.corpus.manifest
            unigram = job.corpus.unigram_entropy("validation")
            try:
                more = further(asked, known, fitted(), manifest.sizes_by_domain, unigram, manifest.weights)
            except UserError as refusal:
                more = unlearned(asked, known, refusal)
            more.save(job.folder.rounds)

    hosts.from_first(made)
    job.rounds = Rounds.load(job.folder.rounds)
    assert job.rounds is not None
    job.reporter.say(job.rounds.told())
    return job.rounds.ended is None
