"""Prices and limits of rounds, worked out by hand: three experts, steps of 512 tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from splitjax import law
from splitjax.law import Table
from splitjax.model import flops_per_token, n_params
from splitjax.planning import auto_rounds, auto_sweep
from splitjax.planning.auto_sweep import further
from splitjax.runs.phase_tree import Cell
from splitjax.runs.sweeping.sweep_rounds import Round, Rounds

from .test_auto_sweep import SIZES, asked


def rounds(*flops: float) -> Rounds:
    return Rounds((), tuple(Round((), "", each, 0.4, 0.2) for each in flops))


def test_the_limit_is_a_share_of_the_planned_model_split_at_half() -> None:
    """T = 2M is 3906 steps of 512, of which 3 · 651 + 1953 are spent: D' = 651 of each of three."""
    question = asked(experts=3, share=0.5)
    main = 3906 * 512 * flops_per_token(question.config.model, 512, 64)
    assert question.main_flops == main
    assert question.limit == 0.5 * main
    small = question.config.model.model_copy(update={"d_model": 32})
    # 100 steps of one model and 50 of three; 140 of one go on from their trunk for 12, and decay for 28.
    alone = question.price([Cell(small, 100, 50)])
    assert alone == (100 + 3 * 50) * 512 * flops_per_token(small, 512, 64)
    assert question.price([Cell(small, 100, 50), Cell(small, 140, 0)]) == alone + 40 * alone / 250


@pytest.mark.parametrize(("spent", "cheapest", "expected"), [
    ((0.4,), 0.05, 0.3), ((0.4, 0.2), 0.05, 0.4), ((0.4,), 0.5, 0.5), ((0.4,), 0.7, 0.6),
    ((0.4, 0.2, 0.3), 0.05, 1 / 3),
])
def test_a_round_has_an_even_share_of_what_is_left(
    spent: tuple[float, ...], cheapest: float, expected: float
) -> None:
    """Of three rounds and a limit of 1: half of 0.6, all of 0.4; one run at least where it is paid for."""
    question: Any = SimpleNamespace(limit=1.0, auto=SimpleNamespace(rounds=3))
    assert auto_sweep._allowance(question, rounds(*spent), sum(spent), cheapest) == pytest.approx(expected)


def test_a_size_has_learned_nothing_where_its_best_run_is_near_the_unigram_entropy() -> None:
    """0.95 · 4 = 3.8: of the smaller size the means of runs are 3.9 and 3.85, of the larger 4.5 and 3.75."""
    rows = [(1e6, "a", 3.7, 4.1), (1e6, "b", 3.5, 4.2), (2e6, "c", 4.4, 4.6), (2e6, "d", 3.9, 3.6)]
    table = Table.from_rows({"n_params": n, "d_pretrain": 1e7, "d_special": 0.0, "loss": loss, "domain": x, "run": run}
                            for n, run, *losses in rows for x, loss in zip("xy", losses, strict=True))
    fitted: Any = SimpleNamespace(table=table)
    assert auto_sweep._deaf(fitted, 4.0) == {1_000_000}
    assert auto_sweep._deaf(fitted, 4.1) == set()
    assert auto_sweep._deaf(SimpleNamespace(table=replace(table, run=None)), 1.0) == set()  # type: ignore[arg-type]


@pytest.mark.parametrize(("interval", "count", "known"), [
    ((0.2, 0.6), 2, True), ((0.19, 0.6), 2, False), ((0.2, 0.61), 2, False), ((0.2, 0.6), 1, False),
])
def test_the_split_is_known_where_its_interval_lies_in_the_flat_region_after_a_second_round(
    interval: tuple[float, float], count: int, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, told = asked(experts=3), SimpleNamespace(interval=interval, flat_region=(0.2, 0.6))
    monkeypatch.setattr(law, "plan", lambda *words, **options: told)
    fitted: Any = SimpleNamespace(table=SimpleNamespace(run=None))
    ended = further(question, rounds(*[1.0] * count), fitted, SIZES, unigram=9.0).ended
    assert ended == ("the split is known: 20% to 60%, all as good as the best" if known
                     else "no run that the price allows would narrow the split")


def test_as_many_fits_follow_as_rounds_may_and_one_that_ends() -> None:
    """Of three rounds one is known: two may follow, each after a fit, and a last fit says that it is enough."""
    config = asked(rounds=3).config
    one, ended = rounds(1.0), replace(rounds(1.0), ended="enough")
    by_hand = config.model_copy(update={"sweep": None})

    def to_come(asked_by: Any, known: Rounds | None) -> tuple[int, int]:
        return auto_rounds.rounds_to_come(asked_by, known), auto_rounds.fits_to_come(asked_by, known)

    assert to_come(config, one) == (2, 3)
    assert to_come(config, rounds(1, 1, 1)) == (0, 1)
    assert to_come(config, rounds(1, 1, 1, 1)) == (0, 1)
    assert to_come(config, ended) == to_come(config, None) == to_come(by_hand, one) == (0, 0)


def test_what_is_told_of_the_rounds() -> None:
    """Shares are of the price: FLOPs here, a fifth and a tenth of the main run's."""
    question = asked(rounds=3)
    small = question.config.model.model_copy(update={"d_model": 32})
    main = question.main_flops
    known = Rounds((), (Round((Cell(small, 4, 1), Cell(small, 2, 2)), "one", main / 5, 0.4, 0.2),
                        Round((Cell(question.config.model, 1, 1),), "more", main / 10, 0.2, 0.1)))
    job: Any = SimpleNamespace(config=question.config, clock=question.clock, rounds_so_far=known,
                               folder=SimpleNamespace(data=Path("nowhere")))
    first, second = auto_rounds.told(job)
    assert first == {"cells": 2, "n_params": [n_params(small)], "flops": main / 5, "device_hours": None,
                     "share": pytest.approx(0.2), "reason": "one"}
    assert (second["cells"], second["share"]) == (1, pytest.approx(0.1))
