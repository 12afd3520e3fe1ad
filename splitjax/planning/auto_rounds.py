"""Rounds of a sweep that chooses its own cells: the first, by a prior over laws, and what is known of all so far."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite
from typing import Any

from splitjax.config import Config, Model, UserError, format_count
from splitjax.law.splitting import design
from splitjax.law.splitting.design import best_shape
from splitjax.law.splitting.limits import COVERED
from splitjax.model import n_params
from splitjax.parallel import hosts
from splitjax.runs.cells import Clock
from splitjax.runs.job import Job
from splitjax.runs.phase_tree import Cell
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.sweeping.sweep_rounds import Rounds

from .auto_question import Question
from .small_models import family, ladder

FIRST = 0.7
"""Share of the price that the first of several rounds may take; where it pays for none, it may take all."""


class UnpaidError(UserError):
    """The price pays for no first round.

    Attributes:
        least: the cheapest that says where to split.
    """

    least: Rounds


def first(asked: Question) -> Rounds:
    """The first round: of all ladders of sizes and shapes of curves within the price, the one that a prior likes best.

    Raises:
        UnpaidError: the price pays for none; names what the cheapest costs.
        UserError: the main model is so small that there are no smaller ones of its kind.
    """
    cheapest = float("inf")
    for part in (FIRST, 1.0) if asked.auto.rounds > 1 else (1.0,):
        found, cheapest = _within(asked, part * asked.limit)
        if found:
            return found
    if not isfinite(cheapest):
        what = f"there are no {asked.auto.models} smaller models of its kind to learn from"
        raise UserError(what, where="model", mend="Name the cells of the sweep yourself, or take a larger model.")
    share = ceil(100 * cheapest / asked.main_price) / 100
    what = f"{asked.auto.share:g} of {asked.unit} do not pay for {asked.auto.models} small models"
    refused = UnpaidError(what, where="sweep.auto.share", mend=f"Give {share:g} or more, or a larger main run.")
    least, _ = _within(asked, 1.000001 * cheapest)
    assert least
    refused.least = least
    raise refused


def _within(asked: Question, limit: float) -> tuple[Rounds | None, float]:
    """The best first round for so much; None where it pays for none. And what the cheapest costs."""
    models = family(asked.config.model)
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
        return None, cheapest
    cells, draws, after = best
    sizes = ladders[tuple(cells)]
    told = ", ".join(format_count(n_params(each)) for each in sizes)
    one = asked.round(cells, f"by a prior: curves of T and T/2 at N = {told}", draws.sd, after)
    return Rounds(tuple(asked.candidates(sizes)), (one,)), cheapest


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


def question_of(job: Job) -> Question:
    """The main run of a job; before its data are prepared, with the vocabulary that the config asks for."""
    return Question(job.config, job.clock, vocab_of(job))


def vocab_of(job: Job) -> int:
    """Rows of the embedding; before the data are prepared as many as the config asks for."""
    prepared = (job.folder.data / "manifest.json").exists()
    return job.vocab_size if prepared else job.config.data.tokenizer.vocab_size


def told(job: Job) -> list[dict[str, Any]]:
    """The rounds so far as plain values.

    Returns:
        of each ``{cells, n_params: sizes, flops, device_hours: None where no hardware is named, share: of the main
        run, as `sweep.auto.share` counts it, reason}``
    """
    asked = question_of(job)
    return [
        {
            "cells": len(each.cells), "n_params": sorted({n_params(cell.model) for cell in each.cells}),
            "flops": each.flops, "device_hours": each.device_hours,
            "share": (each.flops if asked.hardware is None else each.device_hours or 0.0) / asked.main_price,
            "reason": each.reason,
        }
        for each in job.rounds_so_far.rounds
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
