"""A model small enough that a step costs nothing, and batches that are pure functions of t."""

from __future__ import annotations

import copy
import json
from pathlib import Path

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


class Brittle(Bigram):
    """A batch that begins with token 1 throws its switch: the loss is NaN from then on. One with 3 is NaN itself."""

    def init(self, key: Array) -> dict:
        return super().init(key) | {"switch": {"scale": jnp.zeros(1)}}

    def groups(self, params: dict) -> dict:
        return super().groups(params) | {"switch": {"scale": Group(1.0, False)}}

    def loss(self, params: dict, tokens_BT: Array) -> tuple[Array, dict[str, Array]]:
        objective, aux = super().loss(params, tokens_BT)
        first, switch = tokens_BT[0, 0], params["switch"]["scale"][0]
        poison = jnp.where((first == 3) | (switch > 1e-3), jnp.nan, 1.0)
        return (objective - jnp.where(first == 1, switch, 0.0)) * poison, {"loss": aux["loss"] * poison}


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
    """Batches whose first token is 2, but what `first` says for a (step, expert)."""

    def __init__(self, experts: int | list[int], first: dict[tuple[int, int], int] | None = None) -> None:
        super().__init__(experts)
        self.first = first or {}

    def batch(self, t: int, rows: slice | None = None) -> np.ndarray:
        tokens = super().batch(t, rows)
        tokens[:, 0, 0] = [self.first.get((t, k), 2) for k in self.experts]
        return tokens


KEPT = 3 * STEP
"""Tokens between kept checkpoints where experts go back."""
BREAKS = {(10, 1): 1}
"""Expert 1 of `Brittle` is broken by batch 10. With looks after every two steps: 12 and on skip, the look after 14 goes
back to what was kept at 9."""


def events(folder: Path) -> list[tuple[int, int | None]]:
    """(step, step gone back to) of each going back, of all experts."""
    logs = [folder / "metrics.jsonl", *folder.glob("expert-*/metrics.jsonl")]
    rows = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return sorted({(row["tokens"] // STEP, row["to"] and row["to"] // STEP) for row in rows if row.get("event")})


def put(trainer: Trainer, tokens_KBT: np.ndarray) -> Array:
    return trainer.placement.put_batch(tokens_KBT, len(tokens_KBT), BATCH)


def leaves(stack: object) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(stack)]


def same_bits(one: object, other: object) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(leaves(one), leaves(other), strict=True))
