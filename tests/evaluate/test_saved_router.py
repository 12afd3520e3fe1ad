"""A router as files; prompts of every kind find an expert."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from splitjax.config import UserError, hash_json
from splitjax.evaluate import PromptRouter, SavedRouter, Scorer, routers
from splitjax.evaluate.prompts import as_text, read_as_text
from splitjax.evaluate.scorer import Told

from .conftest import WORDS, nll_of, texts_of

PRIOR = (1, 3, 2)
NAMES = ("prefix", "centroid", "bayes", "top2_posterior", "top2_centroid")


def saved(name: str, clusterer) -> SavedRouter:
    router = routers.make(name, PRIOR, lambda: clusterer)
    if name == "top2_centroid":
        router = dataclasses.replace(router, temperature=0.05)
    return SavedRouter(router, tuple(WORDS), 64, "0123", {"validation": {name: 3.0}})


@pytest.fixture(scope="module")
def scorer(model, experts_K) -> Scorer:
    return Scorer(model, experts_K, window=64)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_router_chooses_as_before(name, clusterer, tokenizer, scorer, tmp_path) -> None:
    before = saved(name, clusterer)
    files = before.save(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    after = SavedRouter.load(tmp_path)
    assert dataclasses.replace(after, router=before.router) == before
    assert routers.describe(after.router) == routers.describe(before.router)
    prompts = [texts_of(domain, 1, seed=3)[0] for domain in WORDS]
    choices = [PromptRouter(one.router, tokenizer, scorer).choose_all(prompts) for one in (before, after)]
    for old, new in zip(*choices, strict=True):
        np.testing.assert_allclose(new.weights_K, old.weights_K, rtol=1e-6)
    copied = after.copy(tmp_path, tmp_path / "copy")
    assert [path.read_bytes() for path in copied] == [path.read_bytes() for path in files]


def test_damage_is_named(clusterer, tmp_path) -> None:
    saved("centroid", clusterer).save(tmp_path)
    path = tmp_path / "router.json"
    sound = path.read_text()
    told = json.loads(sound)
    for change, words in (({"format": 9}, "format 9"), ({"prefix": 9}, "changed"), ({"hash": None}, "changed")):
        path.write_text(json.dumps(told | change))
        with pytest.raises(UserError, match=words):
            SavedRouter.load(tmp_path)
    path.write_text(sound)
    data = bytearray((tmp_path / "clusterer.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "clusterer.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"clusterer\.npz: is not the file"):
        SavedRouter.load(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        SavedRouter.load(tmp_path)


def test_a_router_unknown_here_is_refused(clusterer, tmp_path) -> None:
    saved("prefix", clusterer).save(tmp_path)
    told = json.loads((tmp_path / "router.json").read_text()) | {"router": "oracle_of_delphi"}
    told.pop("hash")
    (tmp_path / "router.json").write_text(json.dumps(told | {"hash": hash_json(told)}))
    with pytest.raises(UserError, match="no router 'oracle_of_delphi'"):
        SavedRouter.load(tmp_path)


@pytest.mark.parametrize(("prior", "sound"), [
    ([0.25, 0.5, 0.0], True), ([0.0, 0.0, 0.0], False), ([1e308, 1e308, 1e308], False), ([1.0, 2.0], False),
    ([1.0, 2.0, 3.0, 4.0], False),
])
def test_a_prior_is_one_number_an_expert_and_has_a_sum(prior: list[float], sound: bool, clusterer, tmp_path) -> None:
    """Three of 1e308 are finite, but not together."""
    saved("bayes", clusterer).save(tmp_path)
    told = json.loads((tmp_path / "router.json").read_text()) | {"prior": prior}
    told.pop("hash")
    (tmp_path / "router.json").write_text(json.dumps(told | {"hash": hash_json(told)}))
    if sound:
        assert SavedRouter.load(tmp_path).router.prior_K == pytest.approx((1 / 3, 2 / 3, 0))
    else:
        with pytest.raises(UserError, match="its prior is none of its experts"):
            SavedRouter.load(tmp_path)


class Paid:
    """A scorer whose three experts pay 3, 2 and 2.5 nats for any text."""

    experts, window = 3, 4

    def __init__(self) -> None:
        self.read: list[list[int]] = []

    def all(self, texts: list[list[int]]) -> list[Told]:
        self.read += texts
        return [Told(np.array([[1.0, 2.0], [0.5, 1.5], [2.0, 0.5]], np.float32), np.zeros((3, 2), bool))
                for _ in texts]


@pytest.mark.parametrize(("name", "expert", "weights", "belief"), [
    ("bayes", 1, [1, 3, 2], [1, 3, 2]), ("prefix", 1, [0, 1, 0], [1, 1, 1]),
    ("top2_posterior", 1, [0, 3, 2], [1, 3, 2]),
])
def test_belief_is_what_all_experts_would_be_trusted_with(
    name: str, expert: int, weights: list[float], belief: list[float], tokenizer
) -> None:
    """e^-3, e^-2 and e^-2.5 by priors of 1, 3 and 2; the prefix router's prior only breaks ties."""
    scorer: Any = Paid()
    router = PromptRouter(routers.make(name, PRIOR, None), tokenizer, scorer)
    choice = router.choose([5, 6, 7, 8, 9])
    paid_K = np.exp([-3.0, -2.0, -2.5])
    assert choice.expert == expert
    assert choice.weights_K == pytest.approx(weights * paid_K / (weights * paid_K).sum())
    assert choice.belief_K == pytest.approx(belief * paid_K / (belief * paid_K).sum(), rel=1e-6)
    assert choice.confidence == choice.belief_K[1]
    assert scorer.read[-1] == [5, 6, 7, 8, 9], "the end of a prompt longer than the window, one id before it"
    router.choose([5, 6])
    assert scorer.read[-1] == [tokenizer.end_id, 5, 6]


ODD = {
    "empty": "",
    "empty bytes": b"",
    "no ids": [],
    "over-long": "court " * 500,
    "not UTF-8": b"\xff\xfe court \xc3",
    "from the shell": "caf\udce9",
    "half a pair": "\ud800 tide",
    "another script": "一二三四 🜁",
    "spaces": " \n\t",
    "a special token": "<|endoftext|>",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ODD)
def test_odd_prompts_find_an_expert(kind, name, clusterer, tokenizer, scorer) -> None:
    choice = PromptRouter(saved(name, clusterer).router, tokenizer, scorer).choose(ODD[kind])
    assert 0 <= choice.expert < 3
    assert choice.weights_K.sum() == pytest.approx(1)
    assert choice.weights_K.argmax() == choice.expert


@pytest.mark.parametrize("name", NAMES)
def test_without_a_prompt_the_largest_domain_answers(name, clusterer, tokenizer, scorer) -> None:
    assert PromptRouter(saved(name, clusterer).router, tokenizer, scorer).choose("").expert == 1


@pytest.mark.parametrize("name", NAMES)
def test_text_and_its_ids_are_the_same_prompt(name, clusterer, tokenizer, scorer) -> None:
    router = PromptRouter(saved(name, clusterer).router, tokenizer, scorer)
    text = texts_of("lab", 1, seed=8)[0]
    weights = [router.choose(prompt).weights_K for prompt in (text, text.encode(), tokenizer.encode(text))]
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2])


def test_likelihood_is_that_of_the_document_so_begun(clusterer, model, experts_K, tokenizer, scorer) -> None:
    ids = tokenizer.encode("salt and tide")
    nll_K = [nll_of(model, _one(experts_K, k), [0, *ids]).sum() for k in range(3)]
    posterior_K = np.array(PRIOR) * np.exp(np.min(nll_K) - nll_K)
    found = PromptRouter(saved("bayes", clusterer).router, tokenizer, scorer).choose(ids).weights_K
    np.testing.assert_allclose(found, posterior_K / posterior_K.sum(), rtol=1e-3, atol=1e-12)


def test_a_model_alone_needs_no_router(model, experts_K, tokenizer, clusterer) -> None:
    alone = Scorer(model, _one(experts_K, slice(0, 1)), window=32)
    assert PromptRouter(None, tokenizer, alone).choose("x").expert == 0
    with pytest.raises(UserError, match="routes 3 experts, not 1"):
        PromptRouter(saved("prefix", clusterer).router, tokenizer, alone)


def test_prompts_as_text(tokenizer) -> None:
    assert as_text(b"a\xff") == as_text("a\udcff") == "a�"
    assert read_as_text(tokenizer, [0, *tokenizer.encode("one"), 0, *tokenizer.encode("two"), 0]) == "one\ntwo"
    assert read_as_text(tokenizer, []) == ""


def _one(params_K, k):
    import jax

    return jax.tree.map(lambda leaf: leaf[k], params_K)
