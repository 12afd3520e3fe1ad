"""A sweep that chooses its cells for the main run: small models on the main run's own D and D', within a price.

Laws extrapolate well in N and badly in T, so every cell lies on a split curve of T or half of it, corners included,
and only N is small. The first round is chosen by a prior; each later one by what narrows the split most for its price,
given the law of all rounds before. The sweep ends when the split is known to within its flat region, or nothing that
the price allows is worth a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from splitjax import law
from splitjax.config import UserError, format_count
from splitjax.law.splitting import cell_choice, design
from splitjax.law.splitting.design import NOISE
from splitjax.model import n_params
from splitjax.parallel import hosts
from splitjax.runs.job import Job
from splitjax.runs.phase_tree import Cell
from splitjax.runs.sweeping.sweep_rounds import Rounds

from .auto_question import Question
from .auto_rounds import question_of

NEAR_UNIGRAM = 0.95
"""A size whose best loss is above this share of the unigram entropy has learned too little to tell anything."""


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
        worth = f"from {found.sd_before:.1%} to {found.sd_after:.1%} of T for {asked.words(price(found.cells))}"
        done = "its one round is" if len(known.rounds) == 1 else f"all {len(known.rounds)} rounds are"
        return replace(known, ended=f"{done} done; one more would narrow the split {worth}")
    chosen = tuple(cells[i] for i in found.cells)
    reason = f"the split is {low:.0%} to {high:.0%}; these runs should narrow it most for their price"
    reason += f" (left out, near the unigram entropy: N = {', '.join(map(format_count, sorted(deaf)))})" if deaf else ""
    one = asked.round(chosen, reason, found.sd_before, found.sd_after, known.cells)
    return replace(known, rounds=(*known.rounds, one))


def unlearned(asked: Question, known: Rounds, refusal: UserError) -> Rounds:
    """The rounds with one more, where those so far make no law that could be asked: the prior chooses again.

    Raises:
        UserError: `refusal`, where no round is left or none is paid for.
    """
    cells = [c for c in known.foreseen if c not in set(known.cells)]
    if len(known.rounds) >= asked.auto.rounds:
        raise refusal
    found, _ = _worth(asked, known, None, asked.budget(), cells)
    if not found.cells:
        raise refusal
    reason = f"by the prior: these runs make no law yet ({refusal})"
    one = asked.round([cells[i] for i in found.cells], reason, found.sd_before, found.sd_after, known.cells)
    return replace(known, rounds=(*known.rounds, one))


def _worth(
    asked: Question, known: Rounds, fitted: law.LawFit | None, budget: law.Budget, cells: Sequence[Cell]
) -> tuple[cell_choice.Choice, Callable[[Sequence[int]], float]]:
    """What one more round would choose among `cells`, and the price of some of them beside those known, as the share
    counts it.

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
    return cell_choice.choose(draws, prices, _allowance(asked, known, asked.spent(known), min(prices)), noise), price


def _allowance(asked: Question, known: Rounds, spent: float, cheapest: float) -> float:
    """What the next round may cost: an even share of what is left, one run at least where that is paid for."""
    rest, left = asked.limit - spent, asked.auto.rounds - len(known.rounds)
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
