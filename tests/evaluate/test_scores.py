"""One pass over K experts equals K separate scorings; routers never see what they are scored on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax.config import Model
from splitjax.evaluate import Scores, by_domain, gain, own_losses, score
from splitjax.model import LanguageModel

MODEL = LanguageModel(Model(d_model=16, n_layers=1, n_heads=2), vocab_size=40)
K, WINDOWS, LENGTH, PREFIX = 3, 5, 17, 6


@pytest.fixture(scope="module")
def params_K():
    trees = [MODEL.init(jax.random.key(seed)) for seed in range(K)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@pytest.fixture(scope="module")
def tokens_MWT() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 40, (K, WINDOWS, LENGTH)).astype(np.int32)


def test_one_pass_equals_separate_scorings(params_K, tokens_MWT) -> None:
    together = score(MODEL, params_K, tokens_MWT, PREFIX, batch=4)  # 15 windows: the last batch is padded
    for k in range(K):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], params_K)
        nll_MWS = np.stack([MODEL.token_losses(one, jnp.asarray(tokens)) for tokens in tokens_MWT])
        np.testing.assert_allclose(together.prefix_KMW[k], nll_MWS[..., :PREFIX].sum(-1), rtol=1e-5)
        np.testing.assert_allclose(together.rest_KMW[k], nll_MWS[..., PREFIX:].sum(-1), rtol=1e-5)
    assert (together.prefix, together.rest) == (PREFIX, LENGTH - 1 - PREFIX)


def test_own_losses_are_the_diagonal_of_the_table(params_K, tokens_MWT) -> None:
    table_KM = score(MODEL, params_K, tokens_MWT, PREFIX, batch=8).table_KM()
    np.testing.assert_allclose(own_losses(MODEL, params_K, tokens_MWT, batch=2), np.diag(table_KM), rtol=1e-5)
    seed = jax.tree.map(lambda leaf: leaf[:1], params_K)
    np.testing.assert_allclose(own_losses(MODEL, seed, tokens_MWT, batch=4), table_KM[0], rtol=1e-5)


def test_the_label_knows_what_each_part_costs(params_K, tokens_MWT) -> None:
    found = score(MODEL, params_K, tokens_MWT, PREFIX, batch=8)
    own_MWS = found.nll_KMWS[np.arange(K), np.arange(K)]
    np.testing.assert_allclose(found.oracle_MW(), own_MWS.mean(-1), rtol=1e-6)
    np.testing.assert_allclose(found.oracle_MW(whole=False), own_MWS[..., PREFIX:].mean(-1), rtol=1e-6)
    alone = Scores(found.nll_KMWS[:1], PREFIX)
    np.testing.assert_allclose(alone.oracle_MW(), found.nll_KMWS[0].mean(-1), rtol=1e-6)


def test_gain_is_paired_and_weighs_domains_equally() -> None:
    rng = np.random.default_rng(0)
    hardness_MW = rng.normal(4, 1, (4, 400))  # windows differ far more than models do
    a_MW, b_MW = hardness_MW, hardness_MW + 0.1 + rng.normal(0, 0.02, hardness_MW.shape)
    found = gain(a_MW, b_MW)
    assert found.nats == pytest.approx(0.1, abs=4 * found.error)
    assert found.error == pytest.approx(0.02 / np.sqrt(4 * 400), rel=0.1)
    assert found.perplexity == pytest.approx(100 * (1 - np.exp(-found.nats)))
    assert gain(b_MW, a_MW).nats == pytest.approx(-found.nats)
    assert gain(a_MW, a_MW).perplexity_error == 0


def test_a_model_that_has_diverged_is_told_and_not_an_error() -> None:
    """e to 10,000 nats is no float, and JSON has no infinity."""
    told = by_domain(np.array([2.0, 20_000.0]))
    assert told["mean"] == 10_001.0
    assert 1e300 < told["perplexity"] < float("inf")
    worse = gain(np.full((1, 2), 20_000.0), np.full((1, 2), 2.0))
    assert worse.nats == -19_998.0
    assert worse.perplexity < -1e300
