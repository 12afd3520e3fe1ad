"""A sweep names its cells: crossed, in step, listed, left out, by tokens or by a split."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import Config, UserError, from_dict
from splitjax.model import n_params
from splitjax.runs.cells import Clock
from splitjax.runs.phase_tree import Cell, grow, lost_with, model_tag, part_of, tokens_trained
from splitjax.runs.sweeping.sweep_cells import budgets, points, sweep_cells

SMALL, LARGE = {"d_model": 16, "n_heads": 2}, {"d_model": 32, "n_heads": 2}
K = 4


def config(sweep: dict[str, Any], **changes: Any) -> Config:
    tree = {
        "data": {"sources": [{"type": "installed_python"}]},
        "train": {"seq_len": 64, "batch_size": 4},
        "budget": {"tokens": "1M"},
        "evaluate": {"prefix": 8},
    }
    return from_dict(tree | changes | {"sweep": sweep})


def cells(sweep: dict[str, Any], pick: Any = None, **changes: Any) -> list[Cell]:
    chosen = config(sweep, **changes)
    return sweep_cells(chosen, Clock.of(chosen, K), pick)


def test_axes_are_crossed_without_the_empty_cell() -> None:
    found = cells({"models": [SMALL, LARGE], "d_pretrain": [0, "100k", "20x"], "d_special": [0, "10k"]})
    assert len(found) == 2 * (3 * 2 - 1)
    assert [cell.id for cell in found] == sorted(cell.id for cell in found)
    small = found[0].model if found[0].model.d_model == 16 else found[-1].model
    relative = {cell.pretrain for cell in found if cell.model == small} - {0, round(100_000 / 256)}
    assert relative == {round(20 * n_params(small) / 256)}, "20x counts per parameter of each size"


def test_one_value_stands_for_a_list_of_one() -> None:
    assert cells({"models": SMALL, "d_pretrain": "100k", "d_special": 0}) == cells(
        {"models": [SMALL], "d_pretrain": ["100k"], "d_special": [0]}
    )
    assert cells({"models": "0.3M", "d_pretrain": "100k", "d_special": 0})[0].model.d_model == 64


def test_axes_in_step_go_first_with_first_and_cross_the_others() -> None:
    grid = {"models": [SMALL, LARGE], "d_pretrain": ["100k", "200k"], "d_special": [0, "10k"]}
    found = cells(grid | {"zip": ["models", "d_pretrain"]})
    assert {(cell.model.d_model, round(cell.pretrain * 256, -5)) for cell in found} == {(16, 100_000), (32, 200_000)}
    assert len(found) == 4


def test_a_list_adds_cells_and_exclusions_leave_some_out() -> None:
    grid = {"models": [SMALL, LARGE], "d_pretrain": [0, "100k"], "d_special": ["10k", "60k"]}
    extra = {"models": LARGE, "d_pretrain": "300k", "d_special": 0}
    found = cells(grid | {"list": [extra], "exclude": [{"d_pretrain": 0, "d_special": "10k"}, {"models": SMALL}]})
    assert {(round(c.pretrain * 256, -4), round(c.special * 256, -4)) for c in found} == {
        (0, 60_000), (100_000, 10_000), (100_000, 60_000), (300_000, 0),
    }
    assert {cell.model.d_model for cell in found} == {32}
    assert len(cells({"list": [extra]})) == 1


def test_exclusions_compare_counts_as_tokens_of_the_model() -> None:
    size = n_params(config({"models": SMALL, "d_pretrain": "1k", "d_special": 0}).sweep.models[0])
    grid = {"models": SMALL, "d_pretrain": ["10x", "20x"], "d_special": 0}
    found = cells(grid | {"exclude": [{"d_pretrain": 10 * size}]})
    assert [cell.pretrain for cell in found] == [round(20 * size / 256)]


@pytest.mark.parametrize("accounting", ["total", "per_model"])
def test_tokens_and_split_spend_t_under_the_accounting(accounting: str) -> None:
    budget = {"tokens": "1M", "accounting": accounting}
    found = cells({"models": SMALL, "tokens": ["400k"], "split": [0, 0.5, "100k", 1]}, budget=budget)
    share = K if accounting == "total" else 1
    assert {cell.pretrain + share * cell.special for cell in found} == {round(400_000 / 256) // share * share}
    fractions = sorted(cell.pretrain / (cell.pretrain + share * cell.special) for cell in found)
    assert fractions == pytest.approx([0, 0.25, 0.5, 1], abs=0.01)


def test_the_law_picks_for_each_size_and_budget() -> None:
    sweep = {"models": [SMALL, LARGE], "tokens": ["100k", "200k"], "split": "law", "law": "law.json"}
    asked = []

    def pick(model: Any, tokens: int) -> float:
        asked.append((model.d_model, tokens))
        return 0.25

    found = cells(sweep, pick)
    assert len(found) == 4
    assert all(cell.pretrain / cell.steps(K) == pytest.approx(0.25, abs=0.02) for cell in found)
    assert asked == [(model.d_model, tokens) for model, tokens in budgets(config(sweep))]


def test_seeds_are_cells_and_the_run_s_own_keeps_its_name() -> None:
    grid = {"models": SMALL, "d_pretrain": "100k", "d_special": "10k"}
    (plain,) = cells(grid)
    found = cells(grid | {"seeds": [0, 1, 7]})
    assert plain in found
    assert plain.id == f"{model_tag(plain.model)}.D391.S39"
    assert {cell.id for cell in found} == {plain.id, *(f"{model_tag(plain.model)}-s{s}.D391.S39" for s in (1, 7))}
    assert plain in cells(grid | {"seeds": [7]}, seed=7)


def test_ids_do_not_change() -> None:
    """Run folders of earlier versions hold these names."""
    found = cells({"models": SMALL, "d_pretrain": "100k", "d_special": [0, "10k"]})
    assert [cell.id for cell in found] == ["d16l4-a5e7.D391.S0", "d16l4-a5e7.D391.S39"]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"models": [SMALL]}, "sweep: give d_pretrain and d_special, or else tokens and split"),
        ({"models": SMALL, "d_pretrain": 0}, "give d_pretrain and d_special"),
        ({"models": SMALL, "d_pretrain": 0, "d_special": 1, "tokens": "1M", "split": 0.5}, "or else tokens and split"),
        ({"d_pretrain": 0, "d_special": "1k"}, r"sweep\.models: give the sizes"),
        ({"models": SMALL, "tokens": "1M", "split": "law"}, r"sweep\.law: give it for split: law"),
        ({"models": SMALL, "tokens": "1M", "split": 0.5, "law": "x"}, r"sweep\.law: goes with split: law"),
        ({"models": SMALL, "tokens": "1M", "split": "lwa"}, r"sweep\.split\.0"),
        ({"models": [SMALL, LARGE], "tokens": "1M", "split": 0.5, "zip": ["models", "tokens"]}, "axes of equal length"),
        ({"models": SMALL, "tokens": "1M", "split": 0.5, "zip": ["models", "seeds"]}, "'seeds' is no axis"),
        ({"models": SMALL, "tokens": "1M", "split": 0.5, "zip": ["token", "models"]}, "Did you mean 'tokens'"),
        ({"list": [{"models": SMALL}]}, r"sweep\.list\.0: give d_pretrain"),
        ({"models": SMALL, "tokens": "1M", "split": 0.5, "exclude": [{}]}, r"sweep\.exclude\.0: takes models"),
        ({"models": SMALL, "tokenz": "1M"}, r"unknown key 'sweep\.tokenz'. Did you mean 'tokens'"),
        ({"list": [{"models": SMALL, "tokenz": "1M"}]}, r"unknown key 'sweep\.list\.0\.tokenz'. Did you mean 'tokens'"),
        ({}, r"sweep\.models: give the sizes"),
    ],
)
def test_what_names_no_cells_is_refused(sweep: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(sweep)


def test_an_exclusion_that_leaves_nothing_out_is_refused() -> None:
    with pytest.raises(UserError, match=r"sweep\.exclude\.0: leaves no cell out"):
        cells({"models": SMALL, "d_pretrain": "100k", "d_special": 0, "exclude": [{"d_pretrain": "101k"}]})


def test_a_split_beyond_its_tokens_is_refused() -> None:
    with pytest.raises(UserError, match=r"sweep\.split: 200000 tokens exceed a budget of 100000"):
        cells({"models": SMALL, "tokens": "100k", "split": "200k"})


def test_a_sweep_reads_back_as_itself() -> None:
    axes = {"models": ["0.3M"], "tokens": ["20x", "1M"], "split": ["law", 0.5, "100k"], "seeds": [1, 2]}
    extra = {"models": "1M", "d_pretrain": 0, "d_special": "1M"}
    left_out = {"seeds": 1, "split": 0.5}
    sweep = axes | {"law": "x.json", "zip": ["tokens", "seeds"], "list": [extra], "exclude": [left_out]}
    chosen = config(sweep)
    assert from_dict(chosen.resolved()).sweep == chosen.sweep
    assert len(points(chosen.sweep)) == 2 * 3 + 1 - 1


steps = st.tuples(st.integers(0, 60), st.integers(0, 30)).filter(lambda t: sum(t) > 0)
SHAPES = [config({"models": s, "d_pretrain": "1k", "d_special": 0}).sweep.models[0] for s in (SMALL, LARGE)]
seeded = st.lists(
    st.tuples(st.sampled_from(SHAPES), steps, st.sampled_from([None, 1, 2])).map(lambda t: Cell(t[0], *t[1], t[2])),
    min_size=1, max_size=14,
)


@given(seeded)
def test_grouped_seeds_cost_the_same_tokens_and_end_the_same_cells(found: list[Cell]) -> None:
    alone, grouped = grow(found, 0.2), grow(found, 0.2, together=True)
    assert tokens_trained(alone, K, 1) == tokens_trained(grouped, K, 1)
    assert sorted(c.id for p in alone for c in p.ends) == sorted(c.id for p in grouped for c in p.ends)
    for phase in grouped:
        assert all(cell.seed in phase.seeds for cell in phase.ends)


@given(seeded, st.integers(1, 6))
def test_parts_share_no_phase_and_miss_none(found: list[Cell], parts: int) -> None:
    phases = grow(found, 0.2)
    dealt = [part_of(phases, part, parts, lambda phase: phase.steps(K)) for part in range(1, parts + 1)]
    assert sorted(p.name for part in dealt for p in part) == sorted(p.name for p in phases)
    for part in dealt:
        names = {phase.name for phase in part}
        assert all(phase.parent is None or phase.parent in names for phase in part)


@given(seeded)
def test_what_is_lost_with_a_phase_is_what_branches_from_it(found: list[Cell]) -> None:
    phases = grow(found, 0.2)
    parents = {phase.name: phase.parent for phase in phases}

    def above(name: str | None) -> list[str]:
        return list(itertools.takewhile(bool, _chain(name, parents)))

    for phase in phases:
        lost = {cell.id for other in phases if phase.name in above(other.name) for cell in other.ends}
        assert set(lost_with(phase, phases)) == lost


def _chain(name: str | None, parents: dict[str, str | None]) -> Any:
    while name:
        yield name
        name = parents[name]
