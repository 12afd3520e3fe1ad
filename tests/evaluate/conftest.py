"""Three tiny experts with a byte tokenizer, and a clusterer of three kinds of words."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax.config import Domains, Model
from splitjax.data.clusterer import Clusterer, of_domains
from splitjax.data.tokenizing.fast_tokenizer import bytes_tokenizer
from splitjax.data.tokenizing.tokenizer import Tokenizer
from splitjax.model import LanguageModel

WORDS = {
    "sea": ["ship", "wave", "salt", "anchor", "harbour", "tide"],
    "law": ["court", "clause", "statute", "judge", "appeal", "party"],
    "lab": ["cell", "enzyme", "assay", "dose", "trial", "serum"],
}


def texts_of(domain: str, count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[domain], 12)) for _ in range(count)]


@partial(jax.jit, static_argnums=0)
def _token_losses(model: LanguageModel, params, tokens_BT):
    return model.token_losses(params, tokens_BT)


def nll_of(model: LanguageModel, params, ids) -> np.ndarray:
    """Losses of ids[1:], by the model itself; one compiled length for all tests."""
    padded = np.zeros((1, 257), np.int32)
    padded[0, : len(ids)] = ids
    return np.asarray(_token_losses(model, params, padded))[0, : len(ids) - 1]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel(Model(d_model=16, n_layers=1, n_heads=2), vocab_size=257)


@pytest.fixture(scope="module")
def experts_K(model: LanguageModel):
    trees = [model.init(jax.random.key(seed)) for seed in range(3)]
    # Fresh models all say about the same: sharper heads tell the experts apart.
    return jax.tree.map(lambda *leaves: 2 * jnp.stack(leaves), *trees)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return bytes_tokenizer()


@pytest.fixture(scope="session")
def clusterer() -> Clusterer:
    return of_domains([texts_of(domain, 20) for domain in WORDS], Domains(dims=8), seed=0)
