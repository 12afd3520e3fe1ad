"""Wall time is counted once, under the innermost cause."""

from __future__ import annotations

import pytest

from splitjax.train.times import CAUSES, WallTime, listen_to_compiler, wall


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_inner_cause_pauses_the_outer_one() -> None:
    clock = Clock()
    time = WallTime(clock)
    clock.now += 1
    with time.spent("steps"):
        clock.now += 10
        with time.spent("checkpoint"):
            clock.now += 3
        clock.now += 20
        time.compiled(5)
    clock.now += 2
    told = time.so_far()
    assert set(told) == set(CAUSES)
    assert told == {"steps": 25, "compile": 5, "data": 0, "checkpoint": 3, "evaluation": 0, "other": 3}
    assert sum(told.values()) == 36


def test_a_cause_ends_with_its_error() -> None:
    clock = Clock()
    time = WallTime(clock)

    def wait() -> None:
        with time.spent("data"):
            clock.now += 1
            raise KeyError

    with pytest.raises(KeyError):
        wait()
    clock.now += 1
    assert (time.so_far()["data"], time.so_far()["other"]) == (1, 1)


def test_the_compiler_is_heard() -> None:
    import jax

    listen_to_compiler()
    listen_to_compiler()
    before = wall.so_far()["compile"]
    jax.jit(lambda x: x * 3.25 + 1)(1.5)
    spent = wall.so_far()["compile"] - before
    assert 0 < spent < 30
