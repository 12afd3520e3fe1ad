"""Budgets are spent exactly, and every compared model spends the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import Config, UserError, from_dict
from splitjax.runs.cells import Clock, explicit_fraction, main_cells
from splitjax.runs.job import Job
from splitjax.runs.phase_tree import Cell, grow
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder


def config(**changes: Any) -> Config:
    tree: dict[str, Any] = {
        "data": {"sources": [{"type": "installed_python"}]},
        "model": {"d_model": 32, "n_heads": 2},
        "train": {"seq_len": 64, "batch_size": 4},
        "budget": {"tokens": "1M"},
        "split": 0.5,
        "evaluate": {"prefix": 8},
    }
    return from_dict(tree | changes)


@given(st.integers(1, 10**6), st.integers(1, 32), st.floats(0, 1), st.sampled_from(["total", "per_model"]))
def test_a_split_spends_the_budget_exactly(tokens: int, experts: int, fraction: float, accounting: str) -> None:
    clock = Clock(256, experts, accounting)
    budget = clock.budget(tokens)
    pretrain, special = clock.split(budget, fraction)
    assert pretrain >= 0
    assert special >= 0
    assert pretrain + clock.share * special == budget
    assert abs(pretrain - fraction * budget) <= clock.share / 2 + 1e-6
    assert abs(budget * 256 - tokens) <= 256 * clock.share


def test_the_corners_are_exact() -> None:
    clock = Clock(256, 5, "total")
    budget = clock.budget(10**6)
    assert clock.split(budget, 1.0) == (budget, 0)
    assert clock.split(budget, 0.0) == (0, budget // 5)


@pytest.mark.parametrize("accounting", ["total", "per_model"])
def test_compared_models_spend_the_same(accounting: str) -> None:
    chosen = config(budget={"tokens": "1M", "accounting": accounting}, evaluate={"prefix": 8, "compare": [0.0, 0.3]})
    clock = Clock.of(chosen, 4)
    cells = main_cells(chosen, clock, 0.4)
    assert {"planned", "dense", "80/20", "split at 0 %", "split at 30 %"} <= set(cells)
    spent = {name: cell.pretrain + clock.share * cell.special for name, cell in cells.items()}
    equal_compute = spent.pop("dense_equal_compute", None)
    assert len(set(spent.values())) == 1
    assert cells["dense"].special == 0
    if accounting == "per_model":
        assert equal_compute == cells["planned"].pretrain + 4 * cells["planned"].special
    else:
        assert equal_compute is None


def test_a_budget_below_one_step_an_expert_is_refused() -> None:
    chosen = config(budget={"tokens": 600})
    with pytest.raises(UserError, match=r"budget\.tokens: 600 tokens, in steps of 256 tokens, cannot be split over 4"):
        main_cells(chosen, Clock.of(chosen, 4), 0.5)


@pytest.mark.parametrize(("split", "fraction"), [(0.25, 0.25), ("200k", 0.2), (0, 0.0), (1, 1.0), (None, None)])
def test_an_explicit_split_is_a_fraction_or_tokens(split: object, fraction: float | None) -> None:
    sweep = {"models": [{"d_model": 16, "n_heads": 2}], "d_pretrain": ["10k"], "d_special": [0]}
    assert explicit_fraction(config(split=split, sweep=sweep)) == fraction


def test_a_split_beyond_the_budget_is_refused() -> None:
    with pytest.raises(UserError, match="exceeds the budget"):
        explicit_fraction(config(split="2M"))


@pytest.mark.parametrize(("schedule", "share"), [("wsd", 0.3), ("cosine", 1.0), ("constant", 0.0)])
def test_the_recipe_s_schedule_shapes_the_tree(schedule: str, share: float, tmp_path: Path) -> None:
    train = {"seq_len": 64, "batch_size": 4, "schedule": schedule, "decay_fraction": 0.3}
    job = Job(config(train=train), RunFolder(tmp_path), Reporter())
    cells = [Cell(job.config.model, 100, 0), Cell(job.config.model, 60, 40)]
    assert job.phases(cells) == grow(cells, share)
