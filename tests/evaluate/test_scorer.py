"""Texts of any length: the losses that the model gives each alone, in few compiled shapes."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from splitjax.evaluate import Scorer, scorer

from .conftest import nll_of

LENGTHS = (1, 2, 32, 33, 34, 65, 97, 100)


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [[0, *rng.integers(1, 257, length - 1).tolist()] for length in LENGTHS]


def test_padding_and_company_change_nothing(model, experts_K, texts) -> None:
    told = Scorer(model, experts_K, window=99).all(texts)
    for text, one in zip(texts, told, strict=True):
        assert one.nll_KS.shape == one.greedy_KS.shape == (3, len(text) - 1)
        for k in range(3):
            if len(text) > 1:
                params = jax.tree.map(lambda leaf, k=k: leaf[k], experts_K)
                np.testing.assert_allclose(one.nll_KS[k], nll_of(model, params, text), rtol=2e-5, atol=1e-5)


def test_a_greedy_token_is_the_likeliest(model, experts_K, texts) -> None:
    text = texts[4]
    told = Scorer(model, experts_K, window=99).all([text])[0]
    for k in range(3):
        params = jax.tree.map(lambda leaf, k=k: leaf[k], experts_K)
        likeliest = model.logits(params, np.array([text[:-1]]))[0].argmax(-1)
        np.testing.assert_array_equal(told.greedy_KS[k], likeliest == np.array(text[1:]))


def test_each_text_under_its_own_expert(model, experts_K, texts) -> None:
    chosen = [index % 3 for index in range(len(texts))]
    one_scorer = Scorer(model, experts_K, window=99)
    every, own = one_scorer.all(texts), one_scorer.under(texts, chosen)
    for k, all_of, told in zip(chosen, every, own, strict=True):
        assert told.nll_KS.shape[0] == 1
        np.testing.assert_allclose(told.nll_KS[0], all_of.nll_KS[k], rtol=2e-5, atol=1e-5)


def test_a_bucket_compiles_once(model, experts_K) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(1, 257, length).tolist() for length in rng.integers(2, 33, 200)]
    one_scorer = Scorer(model, experts_K, window=32)
    one_scorer.all(texts)
    compiled = scorer._scores._cache_size()
    one_scorer.all(texts[::-1])
    one_scorer.all([text[::-1] for text in texts])
    assert scorer._scores._cache_size() == compiled


@pytest.mark.parametrize("targets", range(1, 300, 7))
def test_a_bucket_holds_its_texts_with_at_most_half_of_it_empty(targets, model, experts_K) -> None:
    size = Scorer(model, experts_K, window=270)._bucket(min(targets, 270))
    assert min(targets, 270) <= size <= max(32, 2 * targets)


@pytest.mark.parametrize(("backend", "targets", "size"), [
    ("cpu", 1, 32), ("cpu", 32, 32), ("cpu", 33, 64), ("cpu", 64, 64), ("cpu", 65, 96), ("cpu", 97, 128),
    ("cpu", 129, 192), ("cpu", 193, 256), ("cpu", 257, 384), ("cpu", 385, 512), ("cpu", 600, 700), ("cpu", 700, 700),
    ("tpu", 1, 128), ("tpu", 129, 256), ("tpu", 257, 384), ("tpu", 385, 512), ("tpu", 513, 700),
])
def test_buckets_are_1_2_3_4_6_8_12_steps(backend: str, targets: int, size: int, monkeypatch) -> None:
    """Steps of 32, on a TPU of 128, which is as wide as its registers; none is wider than the window."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert Scorer._bucket(SimpleNamespace(window=700), targets) == size


def test_batches_hold_texts_of_a_bucket_in_few_shapes(monkeypatch) -> None:
    """Of 160 tokens a batch: five rows of 32 targets, two of 64; fewer texts take rows to a power of two."""
    monkeypatch.setattr(scorer, "TOKENS_A_BATCH", 160)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    texts = [[length] * length for length in (3, 34, 33, 5, 1, 50, 2, 60, 4, 7)]
    made = SimpleNamespace(_bucket=lambda targets: 32 if targets <= 32 else 64)
    found = [(part, tokens_BT.shape) for part, tokens_BT in Scorer._batches(made, texts, range(9))]
    assert found == [([0, 2, 3, 4, 6], (5, 33)), ([8], (5, 33)), ([1, 5], (2, 65)), ([7], (2, 65))]
    [(part, tokens_BT)] = Scorer._batches(made, texts, [8, 6, 3, 0])
    assert (part, tokens_BT.shape) == ([8, 6, 3, 0], (4, 33))
    [(_, tokens_BT)] = Scorer._batches(made, texts, [3, 9, 0])
    assert tokens_BT.shape == (4, 33)
    assert [row.tolist() for row in tokens_BT[:, :8]] == [[5] * 5 + [0] * 3, [7] * 7 + [0], [3] * 3 + [0] * 5, [0] * 8]
    monkeypatch.setattr(scorer, "TOKENS_A_BATCH", 20)
    assert [part for part, _ in Scorer._batches(made, texts, [0, 3])] == [[0], [3]], "one at least"


def test_a_text_beyond_the_window_is_refused(model, experts_K) -> None:
    with pytest.raises(ValueError, match="window"):
        Scorer(model, experts_K, window=8).all([[0] * 10])


def test_nothing_asked_nothing_told(model, experts_K) -> None:
    assert Scorer(model, experts_K, window=8).all([]) == []
