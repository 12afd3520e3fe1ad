"""What to do next and what it costs, worked out by hand for models of unequal tokens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from splitjax import law
from splitjax.config import UserError
from splitjax.law import Cell, NextRun
from splitjax.reporting import verdict
from splitjax.reporting.judging import next_step
from splitjax.reporting.judging.best_split import _cut
from splitjax.reporting.judging.measured_edges import Edge, compute
from splitjax.reporting.verdict import _steps

RESULTS: dict[str, Any] = {
    "models": {"planned": {"tokens": 5000, "fraction": 0.22}, "dense": {"tokens": 1250, "fraction": 1.0},
               "80/20": {"tokens": 3750, "fraction": 0.8}, "seed": {}},
    "costs": {"planned_flops": 4e12, "planned_tokens": 5000},
}
PLAN = {"n_params": 1e7, "tokens": 3e8, "experts": 3, "accounting": "per_model", "before": 1e6}


@pytest.mark.parametrize(("seeds", "more"), [({}, 3), ({"seeds": {"seeds": [4, 5, 6]}}, 5)])
def test_a_repetition_trains_every_compared_model_with_two_seeds_more(seeds: dict[str, Any], more: int) -> None:
    """10,000 tokens at 8e8 FLOPs a token, twice: four times the planned model."""
    step = next_step.repeat(RESULTS | seeds, "runs/a b")
    assert step.price == "1.6e+13 FLOPs, 4.0 times the planned model"
    assert step.command == f"splitjax run 'runs/a b' train.seeds={more} --redo train"


@pytest.mark.parametrize(("after", "told"), [(0.09, True), (0.0901, False)])
def test_a_run_that_narrows_by_a_tenth_is_named_with_its_share_of_the_planned_model(
    after: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def next_run(*words: Any) -> NextRun:
        asked.extend(words)
        return NextRun(Cell(3e6, 2e8, 5e6), 3e11, 0.1, after)

    monkeypatch.setattr(law, "next_run", next_run)
    step = next_step.narrow("law", PLAN, RESULTS)  # type: ignore[arg-type]
    assert asked == ["law", law.Budget(1e7, 3e8, 3, "per_model", before=1e6), 1e12], "a quarter of 4e12"
    assert (step is not None) == told
    if step:
        assert "N = 3M, D = 200M, D′ = 5M; the standard deviation of the split falls from 10 to 9 %" in step.what
        assert step.price == "3e+11 FLOPs, 8% of the planned model"


def test_no_run_is_named_where_the_law_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: Any) -> NextRun:
        raise UserError("no draws")

    monkeypatch.setattr(law, "next_run", refuse)
    assert next_step.narrow("law", PLAN, RESULTS) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("low", "high", "count"), [(0.3, 0.51, 2), (0.3, 0.49, 1), (None, None, 1)])
def test_a_wide_range_asks_for_a_run_more(
    low: float | None, high: float | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_step, "narrow", lambda *words: next_step.Step("more", "little"))
    results = RESULTS | {"domains": []}
    monkeypatch.setattr(verdict, "missed", lambda *words: False)
    results["models"] = {name: model | {"test": {"domains": []}} for name, model in RESULTS["models"].items()}
    where: Any = SimpleNamespace(low=low, high=high)
    assert len(_steps(PLAN, results, "law", "split", "planned", where, "RUN")) == count  # type: ignore[arg-type]


@pytest.mark.parametrize(("a", "b", "told"), [
    ("planned", "dense", "with 4.0 times the compute"), ("dense", "80/20", "with 0.3 times the compute"),
    ("planned", "planned", "at equal compute"),
])
def test_compute_is_that_of_the_tokens(a: str, b: str, told: str) -> None:
    assert compute(RESULTS, a, b) == told


@pytest.mark.parametrize(("tokens", "told"), [(1019, "at equal compute"), (1021, "with 1.0 times the compute"),
                                              (981, "at equal compute"), (979, "with 1.0 times the compute")])
def test_two_percent_of_the_tokens_are_a_difference(tokens: int, told: str) -> None:
    assert compute({"models": {"a": {"tokens": tokens}, "b": {"tokens": 1000}}}, "a", "b") == told


@pytest.mark.parametrize(("value", "error", "clear"), [
    (0.8, 0.4, 1), (-0.8, 0.4, -1), (0.79, 0.4, 0), (-0.79, 0.4, 0), (0.0, 0.0, 0), (0.1, 0.0, 1),
])
def test_an_edge_is_clear_from_two_standard_errors_on(value: float, error: float, clear: int) -> None:
    assert Edge(0.0, value, error).clear == clear


@pytest.mark.parametrize(("low", "high", "at", "expected"), [
    (0.15, 0.31, 0.28, (0.22, 0.31)),  # the law's, up to the measured neighbour below
    (0.15, 0.9, 0.28, (0.22, 0.8)),
    (0.5, 0.6, 0.28, (0.22, 0.8)),  # a law that excludes it: the neighbours
    (0.1, 0.9, 0.0, (0.0, 0.22)), (0.1, 0.9, 1.0, (0.8, 1.0)),
])
def test_a_measured_split_cuts_the_laws_range_at_its_neighbours(
    low: float, high: float, at: float, expected: tuple[float, float]
) -> None:
    assert _cut(low, high, at, [0.22, 1.0, 0.8, 0.28, 0.0][: 5 if at in (0.0, 1.0) else 4]) == expected
