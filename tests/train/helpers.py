"""A model small enough that a step costs nothing, and batches that are pure functions of t."""

from __future__ import annotations

import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from splitjax import config
from splitjax.model import Group, LanguageModel
from splitjax.train import Trainer

VOCAB, SEQ, BATCH = 61, 8, 2
STEP = SEQ * BATCH


def recipe(**changes: object) -> config.Train:
    return config.Train(**{"seq_len": SEQ, "batch_size": BATCH, "warmup": 4 * STEP, "learning_rate": 1e-2, **changes})


class Bigram:
    """Scores the next token from the one before it: compiles in no time, learns like any model."""

    def init(self, key: Array) -> dict:
        one, other = jax.random.split(key)
        return {
            "embedding": jax.random.normal(one, (VOCAB, 8)),
            "head": {"kernel": jax.random.normal(other, (8, VOCAB))},
            "norm": {"scale": jnp.ones(8)},
        }

    def groups(self, params: dict) -> dict:
        plain = Group(1.0, False)
        return {"embedding": plain, "head": {"kernel": Group(0.5, True, hidden=True)}, "norm": {"scale": plain}}

    def loss(self, params: dict, tokens_BT: Array) -> tuple[Array, dict[str, Array]]:
        x_BSD = params["embedding"][tokens_BT[:, :-1]] * params["norm"]["scale"]
        logits_BSV = x_BSD @ params["head"]["kernel"]
        nll = optax.softmax_cross_entropy_with_integer_labels(logits_BSV, tokens_BT[:, 1:]).mean()
        return nll + 1e-3 * (logits_BSV**2).mean(), {"loss": nll}


class Poisoned(Bigram):
    """Its loss is NaN where a batch begins with token 1."""

    def loss(self, params: dict, tokens_BT: Array) -> tuple[Array, dict[str, Array]]:
        objective, aux = super().loss(params, tokens_BT)
        poison = jnp.where(tokens_BT[0, 0] == 1, jnp.nan, 1.0)
        return objective * poison, {"loss": aux["loss"] * poison}


def make_trainer(model: object = None, **changes: object) -> Trainer:
    """A trainer of a Bigram, unless a model is given."""
    return Trainer(model or Bigram(), recipe(**changes))


def transformer_trainer(**changes: object) -> Trainer:
    """A trainer of the real model, as small as it goes."""
    train = recipe(**changes)
    shape = config.Model(d_model=16, n_layers=1, n_heads=2)
    return Trainer(LanguageModel(shape, VOCAB, z_loss=train.z_loss), train)


class Batches:
    """Random tokens; expert k's do not depend on how many experts there are."""

    def __init__(self, experts: int | list[int]) -> None:
        self.experts = list(range(experts)) if isinstance(experts, int) else experts

    def pick(self, experts: list[int]) -> Batches:
        mine = copy.copy(self)
        mine.experts = [self.experts[expert] for expert in experts]
        return mine

    def batch(self, t: int, rows: slice | None = None) -> np.ndarray:
        def one(k: int) -> np.ndarray:
            return np.random.default_rng([t, k]).integers(0, VOCAB, (BATCH, SEQ + 1), dtype=np.int32)

        return np.stack([one(k) for k in self.experts])[:, rows or slice(None)]

    def epochs(self, t: int) -> float:
        return t / 10


class FirstTokens(Batches):
    """Batches whose first token is 2, but 1 (poison) for the (step, expert) given."""

    def __init__(self, experts: int | list[int], poison: tuple[int, int] | None = None) -> None:
        super().__init__(experts)
        self.poison = poison

    def batch(self, t: int, rows: slice | None = None) -> np.ndarray:
        tokens = super().batch(t, rows)
        tokens[:, 0, 0] = [1 if (t, k) == self.poison else 2 for k in self.experts]
        return tokens


def put(trainer: Trainer, tokens_KBT: np.ndarray) -> Array:
    return trainer.placement.put_batch(tokens_KBT, len(tokens_KBT), BATCH)


def leaves(stack: object) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(stack)]


def same_bits(one: object, other: object) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(leaves(one), leaves(other), strict=True))
