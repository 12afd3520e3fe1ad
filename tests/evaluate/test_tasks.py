"""Zero-shot items: what is scored, by whom, and what the router may read."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.evaluate import Scorer, Served, routers, scorer, tasks

from .conftest import WORDS, nll_of, texts_of

PRIOR = (1, 1, 1)


def write(path: Path, items: list[dict]) -> Path:
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return path


def choice(query: str, *choices: str, gold: int = 0) -> dict:
    return {"query": query, "choices": list(choices), "gold": gold}


@pytest.mark.parametrize(("told", "item"), [
    ({"query": "Which?", "choices": ["one", " two", "3"], "gold": 2, "domain": "law"},
     tasks.Item("Which?", (("Which?", " one"), ("Which?", " two"), ("Which?", " 3")), 2, "law")),
    ({"context_options": ["He saw that a ship", "He saw that an oar"], "continuation": "sank", "gold": 1},
     tasks.Item("He saw that", (("He saw that a ship", " sank"), ("He saw that an oar", " sank")), 1)),
    ({"context": "and so on ", "continuation": "and on"},
     tasks.Item("and so on ", (("and so on ", "and on"),), 0)),  # the one option there is
    ({"context": "", "continuation": "a"}, tasks.Item("", (("", "a"),), 0)),
])
def test_an_item_is_its_prompt_its_options_and_the_right_one(tmp_path, told: dict, item: tasks.Item) -> None:
    assert tasks.read(write(tmp_path / "t.jsonl", [told])).items == (item,)


def test_answers_are_told_as_shares_with_errors_and_by_expert() -> None:
    """3 of 8 right, √(15 / 64 / 7) = 0.18; 5 of 8 by byte; of four experts the second and the last answered none."""
    right, by_byte = np.array([1, 0, 0, 1, 0, 1, 0, 0]), np.array([1, 1, 0, 1, 0, 1, 1, 0])
    told = tasks.Answers(right == 1, by_byte == 1, np.array([2, 0, 2, 2, 0, 2, 2, 2])).to_json(["a", "b", "c", "d"])
    error = pytest.approx(math.sqrt(15 / 64 / 7))
    assert told == {"items": 8, "accuracy": 0.375, "accuracy_error": error, "accuracy_by_byte": 0.625,
                    "accuracy_by_byte_error": error, "answered": {"a": 2, "b": 0, "c": 6, "d": 0}}
    assert "accuracy_by_byte" not in tasks.Answers(right == 1, None, right).to_json(["a", "b"])


def test_an_option_is_weighed_by_the_bytes_of_its_words() -> None:
    """Nats of −3 for two bytes, −2.9 for one and −7.35 for five: by byte −1.5, −2.9 and −1.47."""
    items = tuple(tasks.Item("q", (("q", " ab"), ("q", " c"), ("q", "  é\n d")), gold) for gold in (1, 2, 0))
    nats = [(-3.0, False), (-2.9, False), (-7.35, False)]
    served = SimpleNamespace(
        choose=lambda prompts: [0] * len(prompts), encode_pair=lambda *pair: pair,
        likelihoods=lambda pairs, experts: nats * (len(pairs) // 3),
    )
    assert [tasks._bytes(pair) for pair in items[0].pairs] == [2, 1, 5]
    found = tasks.answer(tasks.Task("t", "choice", items), served)
    assert found.right_N.tolist() == [True, False, False]
    assert found.right_by_byte_N.tolist() == [False, True, False]
    assert tasks._bytes(("", " \n")) == 1, "no division by nothing"


@pytest.mark.parametrize(("contexts", "shared"), [
    (["a ship sails", "a ship sank"], "a ship"), (["a ship", "a ship"], "a ship"), (["ships", "shops"], ""),
    (["a ship", "a ship sank"], "a"), (["a b c", "a x c", "a b d"], "a"), (["one  two", "one  three"], "one"),
])
def test_contexts_share_whole_words(contexts: list[str], shared: str) -> None:
    assert tasks.shared_prompt(contexts) == shared


@pytest.fixture(scope="module")
def alone(model, experts_K, tokenizer) -> Served:
    return Served(tokenizer, Scorer(model, jax.tree.map(lambda leaf: leaf[:1], experts_K), window=48), None)


@pytest.fixture(scope="module")
def routed(model, experts_K, tokenizer, clusterer) -> Served:
    router = routers.make("centroid", PRIOR, lambda: clusterer)
    return Served(tokenizer, Scorer(model, experts_K, window=48), router, tuple(WORDS))


def by_hand(model, params, tokenizer, context: str, continuation: str) -> float:
    ids, count = [0, *tokenizer.encode(context + continuation)], len(tokenizer.encode(continuation))
    return -float(nll_of(model, params, ids)[-count:].sum())


def test_a_choice_is_the_likeliest_continuation(tmp_path, alone, model, experts_K, tokenizer) -> None:
    rng = np.random.default_rng(0)
    items = [choice(*[" ".join(rng.choice(WORDS["sea"], n)) for n in (3, 1, 2, 1)], gold=i % 3) for i in range(12)]
    found = tasks.answer(tasks.read(write(tmp_path / "t.jsonl", items)), alone)
    params = jax.tree.map(lambda leaf: leaf[0], experts_K)
    for index, item in enumerate(items):
        nats = [by_hand(model, params, tokenizer, item["query"], f" {one}") for one in item["choices"]]
        assert found.right_N[index] == (int(np.argmax(nats)) == item["gold"])
        per_byte = [one / len(text.encode()) for one, text in zip(nats, item["choices"], strict=True)]
        assert found.right_by_byte_N[index] == (int(np.argmax(per_byte)) == item["gold"])
    told = found.to_json(["model"])
    share = np.mean(found.right_N)
    assert told["accuracy"] == share
    assert told["accuracy_error"] == pytest.approx(math.sqrt(share * (1 - share) / 11))
    assert told["answered"] == {"model": 12}


def test_contexts_are_compared_by_what_follows_them(tmp_path, alone, model, experts_K, tokenizer) -> None:
    items = [
        {"context_options": [f"the tide took the {a}", f"the tide took the {b}"], "continuation": "away", "gold": g}
        for a, b, g in (("ship", "anchor", 0), ("wave", "salt", 1), ("harbour", "ship", 1))
    ]
    task = tasks.read(write(tmp_path / "t.jsonl", items))
    assert [item.prompt for item in task.items] == ["the tide took the"] * 3
    found = tasks.answer(task, alone)
    params = jax.tree.map(lambda leaf: leaf[0], experts_K)
    for index, item in enumerate(items):
        nats = [by_hand(model, params, tokenizer, context, " away") for context in item["context_options"]]
        assert found.right_N[index] == (int(np.argmax(nats)) == item["gold"])
    assert found.right_by_byte_N is None


def test_the_last_word_must_be_what_greedy_decoding_gives(alone) -> None:
    """Every byte tried as the next: exactly one is the greedy one."""
    items = tuple(tasks.Item("salt", (("salt", chr(byte)),), 0) for byte in range(33, 127))
    found = tasks.answer(tasks.Task("t", "last_word", items), alone)
    nats = [alone.likelihoods([alone.encode_pair(*item.pairs[0])], [0])[0][0] for item in items[:3]]
    assert len(set(nats)) == 3
    context = alone.encode("salt")
    told = alone.likelihoods([(context, [token]) for token in range(257)], [0] * 257)
    assert sum(greedy for _, greedy in told) == 1
    likeliest = max(range(257), key=lambda token: told[token][0])
    assert told[likeliest][1]
    for item, right in zip(items, found.right_N, strict=True):
        assert right == (alone.encode(item.pairs[0][1])[1:] == [likeliest])


def test_a_continuation_is_greedy_if_all_of_it_is(alone) -> None:
    ids = alone.encode("salt")
    for _ in range(3):
        told = alone.likelihoods([(ids, [token]) for token in range(257)], [0] * 257)
        ids.append(next(token for token, (_, greedy) in enumerate(told) if greedy))
    start = len(alone.encode("salt"))
    assert alone.likelihoods([(ids[:start], ids[start:])], [0])[0][1]
    wrong = [*ids[start:-1], (ids[-1] + 1) % 257]
    assert not alone.likelihoods([(ids[:start], wrong)], [0])[0][1]


def test_the_router_reads_the_question_alone(tmp_path, routed) -> None:
    """Options full of another domain's words change who answers nothing."""
    questions = [texts_of(domain, 1, seed=4)[0] for domain in WORDS]
    lures = [" ".join(WORDS[domain]) for domain in ("lab", "sea", "law")]
    plain = [choice(question, "one", "two") for question in questions]
    luring = [choice(question, lure, lure + " x") for question, lure in zip(questions, lures, strict=True)]
    for name, items in (("plain", plain), ("luring", luring)):
        found = tasks.answer(tasks.read(write(tmp_path / f"{name}.jsonl", items)), routed)
        assert found.expert_N.tolist() == [0, 1, 2]
    options = [{"context_options": [f"{q} {WORDS[o][0]}", f"{q} {WORDS[o][1]}"], "continuation": "x", "gold": 0}
               for q, o in zip(questions, ("lab", "sea", "law"), strict=True)]
    found = tasks.answer(tasks.read(write(tmp_path / "options.jsonl", options)), routed)
    assert found.expert_N.tolist() == [0, 1, 2]


def test_each_question_is_scored_by_the_expert_that_answers_it(routed, model, experts_K, tokenizer) -> None:
    pairs = [routed.encode_pair(texts_of(domain, 1)[0][:20], " tide") for domain in WORDS]
    for k, (nats, _) in enumerate(routed.likelihoods(pairs, [0, 1, 2])):
        params = jax.tree.map(lambda leaf, k=k: leaf[k], experts_K)
        expected = -nll_of(model, params, [*pairs[k][0], *pairs[k][1]])[-5:].sum()
        assert nats == pytest.approx(float(expected), rel=1e-4)


def test_spaces_at_the_end_of_a_context_belong_to_what_follows(alone) -> None:
    context, continuation = alone.encode_pair("a tide  ", "rises")
    assert context == alone.encode("a tide")
    assert continuation == alone.encode("  rises")[1:]


def test_a_long_question_loses_its_beginning_and_a_long_answer_is_scored_whole(alone, model, experts_K) -> None:
    params = jax.tree.map(lambda leaf: leaf[0], experts_K)
    rng = np.random.default_rng(0)
    context, short, long = ([0, *rng.integers(1, 257, n).tolist()] for n in (200, 9, 120))
    [(found, _)] = alone.likelihoods([(context, short)], [0])
    seen = [*context, *short][-49:]
    assert found == pytest.approx(-float(nll_of(model, params, seen)[-10:].sum()), rel=1e-4)
    [(found, _)] = alone.likelihoods([(context, long)], [0])
    ids, expected = [*context, *long], 0.0
    for start in range(len(context), len(ids), 48):
        stop = min(start + 48, len(ids))
        expected -= float(nll_of(model, params, ids[stop - 49 : stop])[start - stop :].sum())
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_whole_text_is_scored_once_each_token(alone, routed, model, experts_K, tokenizer) -> None:
    text = " ".join(texts_of("law", 2))[:40]
    params = jax.tree.map(lambda leaf: leaf[0], experts_K)
    assert alone.rolling(text) == pytest.approx(by_hand(model, params, tokenizer, "", text), rel=1e-4)
    assert alone.rolling("") == 0.0
    assert routed.rolling(text * 9) < routed.rolling(text * 3) < 0


def test_items_of_like_length_share_a_compiled_shape(tmp_path, alone) -> None:
    rng = np.random.default_rng(1)

    def task(name: str, count: int) -> tasks.Task:
        items = [choice(" ".join(rng.choice(WORDS["lab"], 2)), "a", "bc", "def") for _ in range(count)]
        return tasks.read(write(tmp_path / f"{name}.jsonl", items))

    tasks.answer(task("first", 90), alone)
    before = scorer._scores._cache_size()
    tasks.answer(task("second", 80), alone)
    assert scorer._scores._cache_size() == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not an item"),
        ("[1]", "not an item"),
        ('{"query": "q"}', "not an item"),
        ('{"query": "q", "choices": ["a", "b"], "gold": 2}', "gold is 2"),
        ('{"query": "q", "choices": ["a", "b"], "gold": true}', "gold is True"),
        ('{"query": "q", "choices": ["a"], "gold": 0}', "for 1 options"),
        ('{"query": "q", "choices": ["a", 3], "gold": 0}', "3 is no text"),
        ('{"query": "q", "choices": ["a", ""], "gold": 0}', "empty continuation"),
        ('{"context": "c", "continuation": "d"}', "form last_word in a task of form choice"),
    ],
)
def test_a_bad_line_is_named(line: str, words: str, tmp_path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(choice("q", "a", "b")) + "\n\n" + line + "\n")
    with pytest.raises(UserError, match=words) as caught:
        tasks.read(path)
    assert caught.value.where == f"{path}:3"


def test_files_that_are_none_are_refused_and_compressed_ones_read(tmp_path) -> None:
    with pytest.raises(UserError, match="no such file"):
        tasks.read(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="no items"):
        tasks.read(tmp_path / "empty.jsonl")
    (tmp_path / "bad.jsonl.gz").write_bytes(b"\x1f\x8bxx")
    with pytest.raises(UserError, match="cannot be read"):
        tasks.read(tmp_path / "bad.jsonl.gz")
    line = json.dumps(choice("a\u2028b", "c", "d"), ensure_ascii=False)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    task = tasks.read(tmp_path / "t.jsonl.gz")
    assert (task.name, task.items[0].prompt) == ("t", "a\u2028b")


def test_the_mean_of_eight_needs_all_eight() -> None:
    names = ["boolq", "piqa_val", "social_iqa", "hellaswag_val", "winogrande", "arc_easy", "arc-challenge", "obqa"]
    scores = {name: {"accuracy": 0.1, "accuracy_by_byte": index / 8} for index, name in enumerate(names)}
    scores["copa"] = {"accuracy": 1.0}
    mean, missing = tasks.commonsense(scores)
    assert (mean, missing) == (pytest.approx(3.5 / 8), [])
    scores.pop("winogrande")
    assert tasks.commonsense(scores) == (None, ["WinoGrande"])


def test_an_item_names_its_domain_and_who_answers_may_be_given(tmp_path, routed) -> None:
    items = [{"context": "a", "continuation": "b", "domain": name} for name in WORDS]
    items.append({"context": "", "continuation": "x"})
    task = tasks.read(write(tmp_path / "t.jsonl", items))
    assert [item.domain for item in task.items] == [*WORDS, None]
    given = [2, 0, 1, 1]
    told = tasks.answer(task, routed, given)
    assert told.expert_N.tolist() == given
    pairs = [routed.encode_pair(*item.pairs[0]) for item in task.items]
    assert told.right_N.tolist() == [greedy for _, greedy in routed.likelihoods(pairs, given)]
    with pytest.raises(UserError, match="is no text"):
        tasks.read(write(tmp_path / "t.jsonl", [{"context": "a", "continuation": "b", "domain": 3}]))
