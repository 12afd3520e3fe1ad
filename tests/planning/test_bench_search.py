"""The search for the fastest way to train on the card at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from splitjax.cli import main
from splitjax.config import UserError, load
from splitjax.planning import bench_search
from splitjax.planning.bench_search import Tried, best_of, measured

from .test_bench import CPU_SHAPE, SMALL

ROOM = {"none": 8, "dots_no_batch": 16, "full": 64}


def _card(speed: Callable[[Tried], float], room: dict[str, int]) -> tuple[Callable[[Tried], Tried], list[str]]:
    """A card of so many windows by remat, and what was tried on it."""
    tried: list[str] = []

    def measure(way: Tried) -> Tried:
        tried.append(f"{way.batch_size} {way.remat} {way.loss_blocks or ''}".strip())
        return replace(way, tokens_per_s=speed(way)) if way.batch_size <= room[way.remat] else way

    return measure, tried


def _search(speed: Callable[[Tried], float], batch: int = 4, room: dict[str, int] = ROOM) -> tuple[Tried, list[str]]:
    measure, tried = _card(speed, room)
    return best_of(batch, 64, measure, lambda way: None), tried


def test_what_is_full_is_tried_with_more_recomputed() -> None:
    cost = {"none": 1.0, "dots_no_batch": 1.1, "full": 1.3}
    best, tried = _search(lambda way: way.batch_size / (2 + way.batch_size * cost[way.remat]))
    assert tried[:6] == ["4 none", "8 none", "16 none", "16 dots_no_batch", "32 dots_no_batch", "32 full"]
    # 16 / 19.6 is 2.04 % more than 8 / 10; 32 / 43.6 is less.
    assert (best.batch_size, best.remat) == (16, "dots_no_batch")


def test_a_batch_that_gains_nothing_is_not_taken_and_ends_the_search() -> None:
    best, tried = _search(lambda way: 100.0 + way.batch_size / 8)
    assert tried == ["4 none", "8 none", "4 none 1", "4 none 4", "4 none 16"]
    assert (best.batch_size, best.remat, best.loss_blocks) == (4, "none", None)


def test_faster_blocks_are_taken() -> None:
    best, _ = _search(lambda way: 100.0 + (way.loss_blocks == 4) * 10)
    assert best.words() == "train.batch_size=4 train.remat=none train.loss_blocks=4"


def test_blocks_that_do_not_fit_leave_the_best() -> None:
    measure, _ = _card(lambda way: 100.0, ROOM)
    best = best_of(4, 64, lambda way: way if way.loss_blocks == 1 else measure(way), lambda way: None)
    assert best.loss_blocks is None


def test_where_nothing_fits_it_is_said() -> None:
    with pytest.raises(UserError, match="a batch of 100 does not fit"):
        _search(lambda way: 1.0, batch=100)


def test_want_of_memory_is_a_way_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise jax.errors.JaxRuntimeError(f"{said}: out of memory")

    monkeypatch.setattr(bench_search.Runner, "of", full)
    said = "RESOURCE_EXHAUSTED"
    way = Tried(4, "none", None)
    assert measured(load(CPU_SHAPE, SMALL), 1, 3, way) == way
    said = "INTERNAL"
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        measured(load(CPU_SHAPE, SMALL), 1, 3, way)


def test_the_command_measures_the_fastest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Really measured, but for the search's own speeds: noise would choose."""
    real = bench_search.measured

    def steered(*args: object) -> Tried:
        found = real(*args)  # type: ignore[arg-type]
        return replace(found, tokens_per_s={2: 100.0, 4: 200.0}.get(found.batch_size, 150.0))

    monkeypatch.setattr(bench_search, "measured", steered)
    assert main(["bench", str(Path(CPU_SHAPE)), *SMALL, "--steps", "5", "--experts", "2", "--search"]) == 0
    out, told = capsys.readouterr()
    assert "| 2 x 4 x 16 |" in out
    assert "fastest: train.batch_size=4 train.remat=none" in told
    assert told.count("tokens/s") == 6  # 2, 4, 8 windows and three numbers of blocks
