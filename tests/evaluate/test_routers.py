"""What each router says, that none looks ahead, and how one is picked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.evaluate import Scores, Seen, routers, routing, score
from splitjax.evaluate.routers import Centroid, Likelihood, mixture_losses
from splitjax.train.stack import fresh, merge

from .conftest import WORDS, texts_of

PRIOR = (2, 1, 1)
NAMES = ("prefix", "centroid", "bayes", "top2_posterior", "top1_posterior", "top2_centroid")
PREFIX, LENGTH = 40, 81


@pytest.fixture(scope="module")
def all_routers(clusterer) -> list[routers.Router]:
    return [routers.make(name, PRIOR, lambda: clusterer) for name in NAMES]


def windows(tokenizer, seed: int = 0) -> np.ndarray:
    """tokens_MWT: two windows of each kind of words."""
    texts = [" ".join(texts_of(domain, 4, seed + w)) for domain in WORDS for w in range(2)]
    return np.array([[0, *tokenizer.encode(text)[: LENGTH - 1]] for text in texts], np.int32).reshape(3, 2, LENGTH)


def token_losses(router, model, params_K, tokens_MWT, tokenizer) -> np.ndarray:
    """Losses (U, R) after the prefix, as an evaluation computes them."""
    found = score(model, params_K, tokens_MWT, PREFIX, batch=4)
    nll_KUS = found.nll_KMWS.reshape(3, 6, -1)
    seen = Seen(routing.prefix_texts(tokens_MWT, PREFIX, tokenizer), nll_KUS[..., :PREFIX].sum(-1))
    return mixture_losses(router, router.log_weights(seen), nll_KUS[..., PREFIX:])


@pytest.mark.parametrize("cut", [0, 1, 17, LENGTH - PREFIX - 2])
def test_no_token_is_scored_by_a_model_chosen_with_sight_of_it(
    cut, all_routers, model, experts_K, tokenizer
) -> None:
    """The future of token `cut` after the prefix is exchanged: it and all before it cost what they did."""
    tokens_MWT = windows(tokenizer)
    changed = tokens_MWT.copy()
    changed[..., PREFIX + 2 + cut :] = windows(tokenizer, seed=9)[::-1, :, PREFIX + 2 + cut :]
    for router in all_routers:
        before, after = (token_losses(router, model, experts_K, t, tokenizer) for t in (tokens_MWT, changed))
        np.testing.assert_allclose(after[:, : cut + 1], before[:, : cut + 1], rtol=1e-6, err_msg=router.name)
        if cut < LENGTH - PREFIX - 2:
            assert not np.allclose(after[:, cut + 1 :], before[:, cut + 1 :])


def test_the_average_of_the_weights_does_not_look_ahead_either(model, experts_K, tokenizer) -> None:
    merged_K = merge(fresh(experts_K, experts_K, experts_K)).params
    tokens_MWT = windows(tokenizer)
    changed = tokens_MWT.copy()
    changed[..., PREFIX + 2 :] = 7
    before, after = (score(model, merged_K, t, PREFIX, batch=4).nll_KMWS for t in (tokens_MWT, changed))
    np.testing.assert_allclose(after[..., : PREFIX + 1], before[..., : PREFIX + 1], rtol=1e-6)


def test_the_prefix_decides_and_pays_for_its_mistakes() -> None:
    # Two experts, two domains, one window each; prefix of 2, rest of 2. The prefix of domain 1 misleads.
    nll_KMWS = np.array([[[[1, 0, 4, 4]], [[1, 0, 8, 8]]], [[[2, 0, 6, 6]], [[3, 0, 5, 5]]]], np.float32)
    found = routing.route(routers.make("prefix", (1, 9), None), Scores(nll_KMWS, 2), ["", ""])
    assert found.choice_MW.tolist() == [[0], [0]]
    assert found.accuracy_M().tolist() == [1.0, 0.0]
    assert found.loss_MW.tolist() == [[4.0], [8.0]]


@given(st.integers(0, 2**32 - 1))
def test_the_causal_posterior_is_bayes_rule(seed: int) -> None:
    """The conditional losses add up to the log ratio of the mixture's probabilities, by any route."""
    rng = np.random.default_rng(seed)
    nll_KUS = rng.gamma(2, 2, (3, 4, 12))
    bayes = Likelihood("bayes", (0.5, 0.3, 0.2), top=3, causal=True)
    logw_UK = bayes.log_weights(Seen([""] * 4, nll_KUS[..., :5].sum(-1)))
    found = mixture_losses(bayes, logw_UK, nll_KUS[..., 5:]).sum(-1)

    def evidence(stop: int) -> np.ndarray:
        return np.log((np.array(bayes.prior_K)[:, None] * np.exp(-nll_KUS[..., :stop].sum(-1))).sum(0))

    np.testing.assert_allclose(found, evidence(5) - evidence(12), rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_truncated_weights_are_a_distribution_over_the_best(seed: int, top: int) -> None:
    logits_UK = np.random.default_rng(seed).normal(0, 30, (5, 4))
    kept_UK = np.exp(routers.truncated(logits_UK, top))
    np.testing.assert_allclose(kept_UK.sum(1), 1)
    assert ((kept_UK > 0).sum(1) <= top).all()
    assert (kept_UK.argmax(1) == logits_UK.argmax(1)).all()


def test_an_ensemble_of_all_by_posterior_is_the_bayes_mixture(model, experts_K, tokenizer) -> None:
    all_of = routers.make("top3_posterior", PRIOR, None)
    bayes = routers.make("bayes", PRIOR, None)
    tokens = windows(tokenizer)
    first, second = (token_losses(router, model, experts_K, tokens, tokenizer) for router in (all_of, bayes))
    np.testing.assert_array_equal(first, second)
    assert (token_losses(routers.make("top2_posterior", PRIOR, None), model, experts_K, tokens, tokenizer) >= 0).all()


def test_an_expert_outside_the_top_is_not_looked_at(clusterer) -> None:
    seen = Seen([texts_of("law", 1)[0]], np.array([[9.0], [1.0], [5.0]]))
    for name, unused in (("top2_posterior", 0), ("centroid", 0), ("prefix", 2)):
        router = routers.make(name, PRIOR, lambda: clusterer)
        nll_KUR = np.ones((3, 1, 4))
        nll_KUR[unused] = np.nan
        logw_UK = router.log_weights(seen)
        assert logw_UK[0, unused] == -np.inf
        np.testing.assert_allclose(mixture_losses(router, logw_UK, nll_KUR), 1)


def test_the_nearest_centroid_knows_its_words_and_asks_the_prior_about_others(clusterer) -> None:
    router = routers.make("centroid", (1, 1, 5), lambda: clusterer)
    texts = [texts_of(domain, 1, seed=5)[0] for domain in WORDS]
    assert router.log_weights(Seen(texts)).argmax(1).tolist() == [0, 1, 2]
    assert router.log_weights(Seen(["", "zzz qqq", "🜁🜂"])).argmax(1).tolist() == [2, 2, 2]


def test_a_colder_ensemble_trusts_the_nearest_more_and_validation_sets_it(clusterer) -> None:
    made = routers.make("top2_centroid", PRIOR, lambda: clusterer)
    assert isinstance(made, Centroid)
    seen = Seen([texts_of("sea", 1)[0] + " judge"])
    cold, warm = (dataclasses.replace(made, temperature=t).log_weights(seen)[0].max() for t in (0.01, 1.0))
    assert cold > warm
    right_KUR = np.full((3, 1, 4), 9.0)
    right_KUR[0] = 1.0
    assert routers.tuned(made, seen, right_KUR).temperature == 0.01
    assert routers.tuned(made, seen, np.roll(right_KUR, 1, axis=0)).temperature == 1.0


def test_prefix_stands_unless_another_is_clearly_better() -> None:
    rng = np.random.default_rng(0)
    base_MW = rng.normal(3, 0.5, (3, 50))

    def routed(shift: float) -> routing.Routed:
        return routing.Routed(base_MW + shift + rng.normal(0, 0.05, base_MW.shape), np.zeros((3, 50), int))

    names = ("prefix", "top1_posterior", "bayes")
    made = [routers.make(name, PRIOR, None) for name in names]

    def picked(**shifts: float) -> str:
        return routing.pick(made, {name: routed(shifts.get(name, 0.0)) for name in names}).name

    assert picked(top1_posterior=-0.001) == "prefix"
    assert picked(top1_posterior=-0.1) == "top1_posterior"
    assert picked(bayes=-1.0) == "prefix", "it would run three experts on every token"
    assert routing.pick(made[2:], {"bayes": routed(0)}).name == "bayes"


def test_routers_are_pluggable_and_misspelt_ones_refused() -> None:
    with pytest.raises(UserError, match=r"no router 'prefx'.*Did you mean 'prefix'"):
        routers.check(["bayes", "prefx"])
    with pytest.raises(UserError, match="no router that reads"):
        routers.check(["average"])
    with pytest.raises(ValueError, match="already"):
        routers.register("prefix", lambda name, prior, _: Likelihood(name, prior, 1, False))
    routers.register("biggest", lambda name, prior, _: Likelihood(name, tuple(p**9 for p in prior), 1, False))
    try:
        assert routers.make("biggest", PRIOR, None).top == 1
    finally:
        del routers.REGISTRY["biggest"]
