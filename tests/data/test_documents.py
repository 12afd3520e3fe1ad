"""The hashes that decide split, sample and order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitjax.data.documents import digest, digests_array, mix, order_keys, sample_keys, split_ids, take_chars

texts = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=50, unique=True)


@given(texts, st.randoms())
def test_split_and_order_belong_to_the_document_alone(data: list[bytes], rng) -> None:
    shuffled = data.copy()
    rng.shuffle(shuffled)
    for function in (lambda d: split_ids(d, 0.2, 0.2), lambda d: order_keys(d, 7), sample_keys):
        one = dict(zip(data, function(digests_array([digest(x) for x in data])).tolist(), strict=True))
        two = dict(zip(shuffled, function(digests_array([digest(x) for x in shuffled])).tolist(), strict=True))
        assert one == two


def test_splits_have_the_shares_asked_for_and_growing_validation_keeps_test() -> None:
    digests = digests_array([digest(str(i).encode()) for i in range(20_000)])
    ids = split_ids(digests, 0.1, 0.05)
    assert np.abs(np.bincount(ids) / 20_000 - [0.85, 0.1, 0.05]).max() < 0.01
    assert np.array_equal(ids == 2, split_ids(digests, 0.3, 0.05) == 2)


def test_order_sample_and_split_are_independent() -> None:
    digests = digests_array([digest(str(i).encode()) for i in range(20_000)])
    keys = [order_keys(digests, 0), order_keys(digests, 1), sample_keys(digests), mix(digests[:, 0], 1)]
    for i, a in enumerate(keys):
        for b in keys[:i]:
            assert abs(np.corrcoef(a / 2.0**64, b / 2.0**64)[0, 1]) < 0.03


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 500))
def test_take_chars_is_the_longest_head_within_the_limit(sizes: list[int], limit: int) -> None:
    chars = np.array(sizes)
    keys = np.arange(len(sizes), dtype=np.uint64)[::-1].copy()
    taken = take_chars(keys, chars, limit)
    assert taken.tolist() == [len(sizes) - 1 - i for i in range(len(taken))]
    assert len(taken) == 1 or chars[taken].sum() <= limit
    if len(taken) < len(sizes):
        assert chars[taken].sum() + chars[len(sizes) - 1 - len(taken)] > limit
