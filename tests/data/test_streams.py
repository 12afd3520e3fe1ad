"""Batches as a pure function of the step, over hosts, restarts and the split."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.data import Corpus, prefetch, stack
from splitjax.data.streams import window_order

S, B = 16, 8


@settings(max_examples=30, deadline=None)
@given(
    t=st.integers(0, 400),
    seed=st.integers(0, 5),
    scheme=st.sampled_from([None, [1, 2, 3], [(0, [1, 0, 1]), (500, [0, 1, 0])]]),
)
def test_host_slices_put_together_are_the_global_batch(tiny: Corpus, t: int, seed: int, scheme: object) -> None:
    whole_BT = tiny.mixture(B, S, seed, scheme).batch(t)
    for hosts in (1, 2, 4):
        per = B // hosts
        parts = [tiny.mixture(B, S, seed, scheme).batch(t, slice(h * per, (h + 1) * per)) for h in range(hosts)]
        assert np.concatenate(parts).tobytes() == whole_BT.tobytes()


def test_one_epoch_holds_every_window_once_and_the_next_another_order(tiny: Corpus) -> None:
    stream = tiny.domain(0, 1, S, seed=3)
    count = (tiny.tokens("train", 0) - 1) // S
    epochs = [[stream.batch(t).tobytes() for t in range(e * count, (e + 1) * count)] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]
    assert stream.epochs(count) == pytest.approx(1.0)
    # Every token but the first is a target exactly once.
    targets = np.sort(np.concatenate([np.frombuffer(w, np.int32)[1:] for w in epochs[0]]))
    run = tiny._run("train", 0).read(1, count * S + 1)
    assert targets.tolist() == np.sort(run).tolist()


def test_an_expert_goes_on_where_the_trunk_left_its_domain(tiny: Corpus) -> None:
    steps = 7
    seen_K = tiny.mixture_counts(steps * B, S, seed=1)
    trunk = np.concatenate([tiny.mixture(B, S, 1).batch(t) for t in range(steps)])
    for k in range(3):
        own = tiny.domain(k, 1, S, 1)
        consumed = [own.batch(i).tobytes() for i in range(int(seen_K[k]))]
        rows = {row.tobytes() for row in trunk}
        assert all(window in rows for window in consumed)
        after = tiny.domain(k, 1, S, 1, start=int(seen_K[k]))
        assert after.batch(0).tobytes() == own.batch(int(seen_K[k])).tobytes()
    assert int(seen_K.sum()) == steps * B


def test_a_negative_start_counts_batches_from_the_path(tiny: Corpus) -> None:
    shifted = tiny.domain(0, B, S, 0, start=5 - 10 * B)
    assert shifted.batch(10).tobytes() == tiny.domain(0, B, S, 0, start=5).batch(0).tobytes()
    with pytest.raises(IndexError, match="before the start"):
        shifted.batch(0)


def test_the_mixture_follows_train_tokens_or_the_weights(tiny: Corpus) -> None:
    sizes_K = np.array(tiny.manifest.sizes)
    counts_K = tiny.mixture_counts(10_000, S, 0)
    assert counts_K / 10_000 == pytest.approx(sizes_K / sizes_K.sum(), abs=1e-3)
    assert tiny.mixture_counts(600, S, 0, [1, 2, 3]).tolist() == pytest.approx([100, 200, 300], abs=1)


def test_seed_batch_and_domain_each_move_the_stream(tiny: Corpus) -> None:
    base = tiny.mixture(B, S, 0).batch(0)
    assert not np.array_equal(base, tiny.mixture(B, S, 1).batch(0))
    assert not np.array_equal(base, tiny.mixture(B, S, 0).batch(1))
    assert base.shape == (B, S + 1)
    assert base.dtype == np.int32


def test_a_stack_is_its_streams_side_by_side(tiny: Corpus) -> None:
    streams = [tiny.domain(k, B, S, 0) for k in range(3)]
    stacked_KBT = stack(streams).batch(4)
    assert stacked_KBT.shape == (3, B, S + 1)
    assert all(np.array_equal(stacked_KBT[k], streams[k].batch(4)) for k in range(3))
    assert np.array_equal(stack(streams).batch(4, slice(2, 5)), stacked_KBT[:, 2:5])
    assert stack(streams).epochs(9) == max(stream.epochs(9) for stream in streams)


def test_prefetch_gives_the_batches_in_order_and_places_them(tiny: Corpus) -> None:
    stream = tiny.mixture(B, S, 0)
    got = list(prefetch(stream, 3, 20, rows=slice(0, 2), place=lambda tokens: tokens + 1))
    assert all(np.array_equal(a, stream.batch(t, slice(0, 2)) + 1) for t, a in zip(range(3, 20), got, strict=True))


class _Failing:
    def batch(self, t: int, rows: slice | None = None) -> np.ndarray:
        if t == 3:
            raise UserError("damaged", where="shard")
        return np.full(1, t, np.int32)


def test_prefetch_raises_in_the_consumer_at_the_bad_batch() -> None:
    batches = prefetch(_Failing(), 0, 10)
    assert [int(next(batches)[0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="damaged"):
        next(batches)


def test_leaving_prefetch_early_ends_its_threads(tiny: Corpus) -> None:
    batches = prefetch(tiny.mixture(B, S, 0), 0, 10**6)
    next(batches)
    batches.close()  # type: ignore[attr-defined]  # what leaving a loop does
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("splitjax-prefetch")]


def test_held_out_windows_are_fixed_and_of_their_split(tiny: Corpus) -> None:
    windows_WT = tiny.held_out("validation", "law", 5, S)
    assert windows_WT.shape == (5, S + 1)
    assert np.array_equal(windows_WT, Corpus.open(tiny.folder).held_out("validation", 1, 5, S))
    run = tiny._run("validation", tiny.domains.index("law")).read(0, tiny.tokens("validation", "law"))
    text = run.tobytes()
    assert all(row.tobytes() in text for row in windows_WT)
    with pytest.raises(UserError, match=r"validation of 'law': has \d+ windows of 16 tokens, not 100000"):
        tiny.held_out("validation", "law", 100_000, S)


def test_a_window_longer_than_the_domain_is_refused(tiny: Corpus) -> None:
    with pytest.raises(UserError, match="do not fill one window"):
        tiny.domain("sea", B, 10**6, 0)


def test_the_permutation_of_grain_is_the_one_known() -> None:
    assert window_order() == GOLDEN_ORDER, "Grain's shuffle changed: every stream would; pin it"


GOLDEN_ORDER = "03082fe95b9c3410"
