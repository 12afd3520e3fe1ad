"""Cells chosen for the main run: within the price, on its own D and D', round after round."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitjax import law
from splitjax.config import Config, UserError, from_dict, load
from splitjax.law import LawFit, Table
from splitjax.model import n_params
from splitjax.planning.auto_question import Question
from splitjax.planning.auto_rounds import FIRST, first
from splitjax.planning.auto_sweep import further, unlearned
from splitjax.runs.cells import Clock
from splitjax.runs.phase_tree import Cell
from splitjax.runs.sweeping.sweep_rounds import Round, Rounds

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"a": 3_000_000, "b": 1_000_000}


def asked(accounting: str = "total", experts: int = 2, **auto: Any) -> Question:
    tree = {
        "name": "auto",
        "data": {"sources": [{"type": "text", "path": "x"}], "tokenizer": {"vocab_size": 512}},
        "model": {"d_model": 96, "n_layers": 3, "n_heads": 2},
        "train": {"batch_size": 8, "seq_len": 64, "warmup": "4k"},
        "budget": {"tokens": "2M", "accounting": accounting},
        "evaluate": {"prefix": 16},
        "sweep": {"auto": {"share": 2.0, **auto}},
    }
    config = from_dict(tree)
    return Question(config, Clock.of(config, experts), 512)


@pytest.mark.parametrize("accounting", ["total", "per_model"])
@pytest.mark.parametrize("share", [1.0, 4.0])
def test_the_first_round_is_within_its_price_and_on_the_paths_of_the_main_run(accounting: str, share: float) -> None:
    question = asked(accounting, share=share)
    known = first(question)
    (one,) = known.rounds
    assert one.flops == question.price(one.cells) <= FIRST * share * question.main_flops
    assert len({cell.model for cell in one.cells}) == 3
    assert set(one.cells) <= set(known.foreseen)
    whole = question.clock.budget(2_000_000)
    for cell in known.foreseen:
        tokens = cell.pretrain + cell.special * question.clock.share
        assert tokens in (whole, question.clock.budget(1_000_000)), "T, or half of it"
        assert n_params(cell.model) < n_params(question.config.model)
    spent = {cell: cell.pretrain + cell.special * question.clock.share for cell in known.foreseen}
    splits = {cell.pretrain / whole for cell in known.foreseen if spent[cell] == whole}
    assert {0.0, 1.0} <= splits, "both corners"


def test_a_larger_share_buys_larger_models_and_one_round_takes_it_all() -> None:
    least = [min(n_params(cell.model) for cell in first(asked(share=share)).cells) for share in (1.0, 8.0)]
    assert least[1] > least[0]
    alone, several = (first(asked(rounds=rounds)) for rounds in (1, 3))
    assert alone.flops > several.flops
    assert len({cell.model for cell in first(asked(share=4.0, models=4)).cells}) == 4


def test_a_share_that_pays_for_nothing_names_one_that_does() -> None:
    with pytest.raises(UserError, match=r"sweep\.auto\.share: 0\.001 of the main run.*Give (\S+) or more") as refused:
        first(asked(share=1e-3))
    enough = float(str(refused.value).split("Give ")[1].split()[0])
    first(asked(share=1.02 * enough))
    with pytest.raises(UserError):
        first(asked(share=0.5 * enough))


def measured(question: Question, cells: list[Cell], noise: float, best: float = 0.4) -> LawFit:
    """Losses of a made-up truth with a best split, and the law fitted to them."""
    rng, rows = np.random.default_rng(1), []
    for cell, one in zip(cells, question.in_tokens(cells), strict=True):
        for domain in SIZES:
            useful = one.d_special + 1.0 * (one.d_pretrain + 1.0) ** 0.95 * best
            loss = 2.0 + 40 / one.n_params**0.4 + 60 / useful**0.35
            rows.append({
                "n_params": one.n_params, "d_pretrain": one.d_pretrain, "d_special": one.d_special, "domain": domain,
                "loss": loss * np.exp(noise * rng.normal()), "run": cell.id, "trunk": cell.trunk,
            })
    return law.fit(Table.from_rows(rows), family=["effective_data", "blending"], bootstrap=60)


def test_a_sweep_of_one_round_says_what_one_more_is_worth() -> None:
    question = asked(share=6.0, rounds=1)
    known = first(question)
    ended = further(question, known, measured(question, known.cells, noise=0.02), SIZES, unigram=100.0)
    assert ended.rounds == known.rounds
    told = r"its one round is done; one more would narrow the split from \S+% to \S+% of T for \S+ FLOPs"
    assert re.fullmatch(told, ended.ended or "")


def test_rounds_follow_until_all_are_done_or_the_split_is_known() -> None:
    question = asked(share=6.0, rounds=2)
    known = first(question)
    for count in (2, 2):
        fitted = measured(question, known.cells, noise=0.02)
        known = further(question, known, fitted, SIZES, unigram=100.0)
        if known.ended:
            break
        last = known.rounds[-1]
        assert len(known.rounds) <= count
        assert not set(last.cells) & set(known.rounds[0].cells)
        assert set(last.cells) <= set(known.foreseen)
        assert last.flops == pytest.approx(question.price(known.cells) - question.price(known.rounds[0].cells))
        assert known.flops <= question.limit
        assert last.sd_after < last.sd_before
        assert "%" in last.reason
    assert known.ended is not None
    assert len(known.rounds) == 2, "one round alone never knows"


def test_sizes_that_learned_nothing_are_left_out() -> None:
    question = asked(share=6.0)
    known = first(question)
    fitted = measured(question, known.cells, noise=0.02)
    table = fitted.table
    small = table.n_params.min()
    best = min(table.loss[table.run == run].mean() for run in set(table.run[table.n_params == small]))
    after = further(question, known, fitted, SIZES, unigram=float(best))  # the smallest is no better than that
    assert after.ended or not {n_params(cell.model) for cell in after.rounds[-1].cells} & {int(small)}
    assert after.ended or "near the unigram entropy" in after.rounds[-1].reason


def test_nothing_left_to_choose_ends_the_sweep() -> None:
    question = asked(share=6.0)
    begun = first(question)
    whole = Rounds(begun.foreseen, (Round(begun.foreseen, "all", 1.0, 0.4, 0.1),))
    fitted = measured(question, whole.cells, noise=0.05)
    ended = further(question, whole, fitted, SIZES, unigram=100.0).ended
    assert ended is not None
    assert "no run that the price allows" in ended or "the split is known" in ended


def test_runs_that_make_no_law_yet_are_followed_by_others_while_there_are_rounds() -> None:
    question = asked(share=6.0)
    known = first(question)
    refusal = UserError("the law explains nothing of its own rows")
    more = unlearned(question, known, refusal)
    assert len(more.rounds) == len(known.rounds) + 1
    new = more.rounds[-1]
    assert new.cells
    assert not set(new.cells) & set(known.cells)
    assert more.flops <= question.limit * 1.0001
    assert "explains nothing" in new.reason
    with pytest.raises(UserError, match="explains nothing"):
        unlearned(asked(share=6.0, rounds=1), known, refusal)


def test_the_presets_of_pods_propose_within_a_small_share() -> None:
    config: Config = load(ROOT / "configs/tpu/2.7B_x8_v5p.yaml", ["sweep={auto: 0.15}", "topology=null"])
    question = Question(config, Clock.of(config, 8), config.data.tokenizer.vocab_size)
    (one,) = first(question).rounds
    assert one.flops <= 0.15 * question.main_flops
    assert {cell.model.d_model % 64 for cell in one.cells} == {0}
    assert min(n_params(cell.model) for cell in one.cells) * 1000 > n_params(config.model)


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ({"auto": 0.3, "models": "1M"}, r"sweep\.models: auto chooses the cells"),
        ({"auto": 0.3, "list": [{"models": "1M", "tokens": 99, "split": 0.5}]}, r"sweep\.list: auto chooses the cells"),
        ({"list": [{"auto": 0.3}]}, r"sweep\.list\.0\.auto: cells are chosen for the whole sweep"),
        ({"auto": 0}, r"auto\.share.*greater than 0"),
        ({"auto": {"share": 1, "models": 2}}, r"auto\.models.*3"),
        ({"auto": {"share": 1, "rounds": 0}}, r"auto\.rounds.*1"),
    ],
)
def test_contradictions_are_refused_by_key(sweep: dict[str, Any], told: str) -> None:
    tree = asked().config.resolved() | {"sweep": sweep}
    with pytest.raises(UserError, match=told):
        from_dict(tree)
