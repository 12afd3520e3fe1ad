"""What is written is what the model says: greedy and drawn, short and beyond the window, in whole characters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax import config
from splitjax.config import UserError
from splitjax.data.tokenizing.fast_tokenizer import FastTokenizer, bytes_tokenizer, train_bpe
from splitjax.evaluate.generate import Generator, Sampling, texts, until
from splitjax.model import LanguageModel

VOCAB, WINDOW = 37, 48
GREEDY = Sampling()


@pytest.fixture(scope="module")
def writer() -> Generator:
    model = LanguageModel(config.Model(d_model=16, n_layers=2, n_heads=2, n_kv_heads=1), VOCAB)
    params = model.init(jax.random.key(1))
    params["head"]["kernel"] = params["head"]["kernel"].at[:, 0].set(0.0) * 20  # clear choices, no early end
    return Generator(model, params, WINDOW)


logits = jax.jit(LanguageModel.logits, static_argnums=0)


def next_scores(writer: Generator, held: list[int]) -> np.ndarray:
    """Without a cache, in one shape: what stands to the right is not seen."""
    padded = np.array([held + [1] * (WINDOW - len(held))], np.int32)
    return np.array(logits(writer.model, writer.params, padded)[0, len(held) - 1], np.float64)


def greedy(writer: Generator, prompt: list[int], count: int) -> list[int]:
    """The whole text anew for each token."""
    held, out = list(prompt), []
    for _ in range(count):
        out.append(int(next_scores(writer, held).argmax()))
        if out[-1] == 0:
            return out[:-1]
        held.append(out[-1])
        if len(held) > WINDOW:
            held = held[-(WINDOW // 2) :]
    return out


@pytest.mark.parametrize("prompt", [[0], [0, 5, 9], [7] * 40, list(range(1, 37))])
def test_greedy_text_is_that_of_the_uncached_model(writer: Generator, prompt: list[int]) -> None:
    assert list(writer.tokens(prompt, 12, GREEDY, 0)) == greedy(writer, prompt, 12)


def test_text_goes_on_beyond_the_window(writer: Generator) -> None:
    found = list(writer.tokens([0, 3], 2 * WINDOW, GREEDY, 0))
    assert found == greedy(writer, [0, 3], 2 * WINDOW)
    assert len(found) == 2 * WINDOW


def test_the_end_of_a_document_ends_the_text(writer: Generator) -> None:
    first, second = greedy(writer, [0, 3], 2)
    head = np.array(writer.params["head"]["kernel"])
    head[:, [0, second]] = head[:, [second, 0]]
    ended = Generator(writer.model, writer.params | {"head": {"kernel": head}}, WINDOW)
    assert list(ended.tokens([0, 3], 9, GREEDY, 0)) == [first]


def test_every_id_that_ends_a_text_ends_it(writer: Generator) -> None:
    first, second, third = greedy(writer, [0, 3], 3)
    assert len({0, first, second, third}) == 4
    for stops, wanted in ({third}, [first, second]), ({second, third}, [first]), ({first}, []):
        ended = dataclasses.replace(writer, stops=frozenset(stops))
        assert list(ended.tokens([0, 3], 3, GREEDY, 0)) == wanted
    other = dataclasses.replace(writer, model=dataclasses.replace(writer.model, end_id=second))
    assert list(other.tokens([0, 3], 3, GREEDY, 0)) == [first], "the document's own end"


@pytest.mark.parametrize(
    ("pieces", "stops", "wanted"),
    [
        (["one t", "w", "o three"], ["two"], ["one ", ""]),
        (["ab", "ab", "c"], ["abc"], ["ab"]),
        (["a stop and an END"], ["END", "stop"], ["a "]),
        (["half of sto"], ["stop"], ["half of ", "sto"]),
        (["nothing"], [""], ["nothing"]),
    ],
)
def test_text_ends_before_the_first_stop(pieces: list[str], stops: list[str], wanted: list[str]) -> None:
    assert list(until(pieces, stops)) == [piece for piece in wanted if piece]


def test_no_text_is_drawn_after_a_stop() -> None:
    drawn = iter(["one ", "two ", "three"])
    assert "".join(until(drawn, ["two"])) == "one "
    assert next(drawn) == "three"


def test_the_space_of_the_first_word_that_follows_a_prompt_is_kept() -> None:
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers

    vocab = {"</s>": 0, "▁": 1, "▁a": 2, "b": 3, "▁b": 4}
    fast = Fast(models.BPE(vocab, [("▁", "b")]))
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    fast.add_special_tokens(["</s>"])
    tokenizer = FastTokenizer(fast.to_str().encode())
    assert "".join(texts(tokenizer, [4, 3])) == "".join(texts(tokenizer, [4, 3], [2, 0])) == "bb"
    assert "".join(texts(tokenizer, [4, 3], [0, 2])) == " bb"


def test_a_seed_repeats_and_another_differs(writer: Generator) -> None:
    warm = Sampling(temperature=5.0)
    one, again, other = (list(writer.tokens([0, 3], 20, warm, seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_each_way_of_sampling_is_obeyed(writer: Generator) -> None:
    row_V = next_scores(writer, [0, 3])

    def drawn(sampling: Sampling) -> np.ndarray:
        first = [next(iter(writer.tokens([0, 3], 1, sampling, seed)), 0) for seed in range(120)]
        return np.bincount(first, minlength=VOCAB)

    order = np.argsort(-row_V)
    assert set(np.flatnonzero(drawn(Sampling(1e3)))) > set(order[:15])
    assert set(np.flatnonzero(drawn(Sampling(1e3, top_k=3)))) == set(order[:3])
    assert set(np.flatnonzero(drawn(Sampling(1e3, top_p=2.5 / VOCAB)))) == set(order[:3])
    assert set(np.flatnonzero(drawn(Sampling(1e-3)))) == {order[0]}
    assert set(np.flatnonzero(drawn(Sampling(1e3, top_p=1e-6)))) == {order[0]}
    temperature = float(row_V.std())
    share_V = np.exp((row_V - row_V.max()) / temperature)
    share_V /= share_V.sum()
    assert np.abs(drawn(Sampling(temperature)) / 120 - share_V).sum() < 0.6


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"temperature": -1.0}, "temperature"), ({"top_k": -1}, "top-k"), ({"top_p": 0.0}, "top-p"),
     ({"temperature": float("nan")}, "temperature"), ({"top_p": 1.5}, "top-p")],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Sampling(**changes)


@given(text=st.text())
def test_text_comes_in_whole_characters_and_whole(text: str) -> None:
    tokenizer = bytes_tokenizer()
    pieces = list(texts(tokenizer, tokenizer.encode(text)))
    assert "".join(pieces) == text.rstrip("\ufffd")
    for piece in pieces:
        piece.encode("utf-8")


@given(ids=st.lists(st.integers(1, 256), max_size=30))
def test_any_bytes_come_out_as_valid_text(ids: list[int]) -> None:
    "".join(texts(bytes_tokenizer(), ids)).encode("utf-8")


def test_text_comes_as_soon_as_it_is_whole() -> None:
    tokenizer = train_bpe(["the sea"] * 5, 270)
    seen: list[int] = []

    def tokens() -> Iterator[int]:
        for token in tokenizer.encode("é the sea"):
            seen.append(token)
            yield token

    stream = texts(tokenizer, tokens())
    assert next(stream) == "é"
    assert len(seen) == 2
    assert "".join(stream) == " the sea"


def test_an_unfinished_character_at_the_end_is_dropped() -> None:
    tokenizer = bytes_tokenizer()
    assert "".join(texts(tokenizer, tokenizer.encode("sea é")[:-1])) == "sea "
