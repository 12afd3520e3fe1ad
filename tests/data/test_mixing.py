"""The closed form of a mixture against counting it out, and against Grain's own mix."""

import grain
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.data.mixing import Mixing, mixing

weights = st.lists(st.integers(0, 10**9), min_size=1, max_size=6).filter(any)


@st.composite
def mixings(draw: st.DrawFn) -> Mixing:
    k = draw(st.integers(1, 5))
    steps = draw(st.lists(st.integers(1, 40), max_size=3))
    row = st.lists(st.integers(0, 50), min_size=k, max_size=k).filter(any)
    return Mixing(np.cumsum([0, *steps]).tolist(), [draw(row) for _ in range(len(steps) + 1)])


@given(mixings(), st.integers(0, 150))
def test_counts_are_what_counting_gives(mixed: Mixing, items: int) -> None:
    counted = np.zeros_like(mixed.counts(0))
    for item in range(items):
        domain, place = mixed.place(item)
        assert place == counted[domain], "each domain is taken in its own order, without a gap"
        counted[domain] += 1
    assert mixed.counts(items).tolist() == counted.tolist()


@given(weights, st.integers(0, 10**12))
def test_counts_are_proportional_to_the_weights(row: list[int], items: int) -> None:
    exact = items * np.array(row, object) / sum(row)
    assert np.abs(Mixing([0], [row]).counts(items) - exact.astype(float)).max() <= len(row)


def test_the_order_is_that_of_grain() -> None:
    row = [100, 250, 101]
    parents = [grain.MapDataset.source([domain]).repeat() for domain in range(3)]
    theirs = grain.MapDataset.mix(parents, weights=row)
    ours = Mixing([0], [row])
    assert [ours.place(item)[0] for item in range(500)] == [theirs[item] for item in range(500)]


def test_a_schedule_changes_the_weights_at_its_token() -> None:
    mixed = mixing([10, 10], seq_len=8, weights=[(0, [1.0, 0.0]), (80, [0.0, 1.0])])
    assert [mixed.place(item)[0] for item in range(20)] == [0] * 10 + [1] * 10
    assert mixed.counts(14).tolist() == [10, 4]


@pytest.mark.parametrize("bad", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [(5, [1.0, 1.0])],
                                 [(0, [1.0, 1.0]), (0, [1.0, 1.0])]])
def test_weights_that_mean_nothing_are_refused(bad: list) -> None:
    with pytest.raises(UserError, match="weights"):
        mixing([10, 10], 8, bad)


def test_a_mixture_by_tokens_begins_with_its_first_window() -> None:
    """Three windows of four of the first domain, from the first on."""
    by_tokens = mixing([3, 1], 8, None)
    assert [by_tokens.counts(items).tolist() for items in (0, 1, 4, 6, 8)] == [[0, 0], [1, 0], [3, 1], [5, 1], [6, 2]]
    explicit = mixing([9, 9], 8, [0.75, 0.25])
    assert [explicit.place(item) for item in range(8)] == [by_tokens.place(item) for item in range(8)]
