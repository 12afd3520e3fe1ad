from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.train import decay_span, schedule

from .helpers import recipe

TRAIN = recipe(warmup=100, learning_rate=0.5, decay_fraction=0.2)


def test_warms_up_stays_and_decays_to_zero():
    rates = schedule(TRAIN, [0, 50, 100, 500, 800, 900, 1000, 1100], *decay_span(TRAIN, 1000))
    assert rates == pytest.approx([0, 0.25, 0.5, 0.5, 0.5, 0.25, 0, 0])


def test_constant_without_a_decay():
    assert schedule(TRAIN, 10**9) == 0.5


def test_no_warmup_starts_at_the_peak():
    assert schedule(recipe(warmup=0, learning_rate=0.5), 0) == 0.5


def test_cosine_falls_over_the_whole_path():
    train = recipe(warmup=0, learning_rate=0.5, schedule="cosine")
    span = decay_span(train, 1000)
    assert span == (0, 1000)
    at = np.array([0, 250, 500, 750, 1000])
    assert schedule(train, at, *span) == pytest.approx(0.25 * (1 + np.cos(np.pi * at / 1000)))
    warm = recipe(warmup=100, learning_rate=0.5, schedule="cosine")
    assert schedule(warm, 50, *span) == pytest.approx(schedule(train, 50, *span) / 2)


def test_a_constant_schedule_never_decays():
    train = recipe(warmup=0, learning_rate=0.5, schedule="constant")
    assert schedule(train, [0, 999, 1000], *decay_span(train, 1000)).tolist() == [0.5] * 3


def test_experts_may_end_at_different_tokens():
    assert schedule(TRAIN, 900, [800, 850], [1000, 950]) == pytest.approx([0.25, 0.25])
    assert schedule(TRAIN, 950, [800, 850], [1000, 950]) == pytest.approx([0.125, 0.0])


@given(
    path=st.integers(1, 10**12), fraction=st.floats(0.01, 1.0), at=st.floats(0, 1), warmup=st.integers(0, 10**6)
)
def test_paths_share_their_trunk_and_never_leave_the_bounds(path, fraction, at, warmup):
    train = recipe(decay_fraction=fraction, warmup=warmup, learning_rate=0.5)
    begin, end = decay_span(train, path)
    assert 0 <= begin <= end == path
    where = at * path
    rate = float(schedule(train, where, begin, end))
    assert 0 <= rate <= 0.5
    if where <= begin < end:
        assert rate == schedule(train, where)
    assert schedule(train, path, begin, end) == 0 or begin == end


@given(st.lists(st.floats(0, 2000), min_size=2, max_size=20))
def test_falls_monotonically_in_the_decay(points):
    rates = schedule(TRAIN, np.sort(np.array(points) + 800), 800, 1000)
    assert (np.diff(rates) <= 0).all()
