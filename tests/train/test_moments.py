"""The first moment kept in bfloat16 (`train.moment_dtype`)."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from splitjax.config import Model, Train
from splitjax.model import state_bytes
from splitjax.train import Trainer, checkpoint, starts
from splitjax.train.optimizer import update

from .helpers import BATCH, SEQ, STEP, VOCAB, Bigram, recipe
from .test_optimizer import PARAMS, SAME, grads_at


def _trainer(dtype: str) -> Trainer:
    return Trainer(Bigram(), recipe(moment_dtype=dtype))


def _losses(trainer: Trainer, order: int, steps: int = 240) -> np.ndarray:
    """Losses of steps over text that can be learned: each token follows from the one before it, nearly."""
    made, stack, losses = np.random.default_rng(order), trainer.init(0), []
    follows = np.random.default_rng(0).permutation(VOCAB)
    controls = trainer.controls(np.array([1e-2]), STEP)
    for _ in range(steps):
        tokens = made.integers(0, VOCAB, (1, BATCH, SEQ + 1), np.int32)
        for t in range(SEQ):
            kept = made.random((1, BATCH)) < 0.8
            tokens[..., t + 1] = np.where(kept, follows[tokens[..., t]], tokens[..., t + 1])
        stack, metrics = trainer.step(stack, jnp.asarray(tokens), controls)
        losses.append(metrics.loss_K[0])
    return np.asarray(losses)


def test_the_curve_is_within_noise() -> None:
    """The same text in the same order, beside float32 on other orders of text: far nearer than those are."""
    exact, kept = (_losses(_trainer(dtype), order=1) for dtype in ("float32", "bfloat16"))
    others = [_losses(_trainer("float32"), order) for order in (2, 3, 4)]
    late = slice(-100, None)
    assert exact[late].mean() < exact[:20].mean() - 1  # it learned
    noise = np.std([curve[late].mean() for curve in (exact, *others)], ddof=1)
    assert 0 < abs(kept[late].mean() - exact[late].mean()) < noise / 2
    assert np.abs(kept - exact).max() < 0.05


def test_is_optax_with_its_moment_rounded() -> None:
    train = recipe(weight_decay=0.0, moment_dtype="bfloat16")
    reference = optax.scale_by_adam(*train.betas)
    params, nu = PARAMS, optax.tree.zeros_like(PARAMS)
    mu = optax.tree.cast(nu, jnp.bfloat16)
    state = reference.init(PARAMS)
    for t in range(3):
        before = params
        params, mu, nu = update(train, SAME, params, mu, nu, jnp.int32(t), grads_at(t), jnp.float32(1e-2))
        way, state = reference.update(grads_at(t), state)
        jax.tree.map(
            lambda a, b, d: np.testing.assert_allclose(a, b - 1e-2 * d, atol=1e-7), params, before, way
        )
        state = state._replace(mu=optax.tree.cast(optax.tree.cast(state.mu, jnp.bfloat16), jnp.float32))
        assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(mu))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_is_saved_and_gone_on_from_in_the_type_of_the_recipe(optimizer: str, tmp_path: Path) -> None:
    """A trunk's moments in float32 serve experts that keep theirs in bfloat16, and the other way round."""
    for own, other in (("bfloat16", "float32"), ("float32", "bfloat16")):
        maker = Trainer(Bigram(), recipe(moment_dtype=own, optimizer=optimizer))
        stack, _ = maker.step(
            maker.init(0), jnp.ones((1, BATCH, SEQ + 1), jnp.int32), maker.controls(np.array([1e-2]), STEP)
        )
        wanted = jax.tree.map(np.asarray, stack.mu)
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(wanted)} == {own}
        folder = tmp_path / own
        checkpoint.save(folder, STEP, stack, {})
        for dtype in (own, other):
            trainer = Trainer(Bigram(), recipe(moment_dtype=dtype, optimizer=optimizer))
            again, _ = starts.split(trainer, checkpoint.at(folder, STEP), 2)()
            got = jax.tree.leaves(again.mu)
            assert {str(leaf.dtype) for leaf in got} == {dtype}
            for leaf, before in zip(got, jax.tree.leaves(wanted), strict=True):
                np.testing.assert_array_equal(np.asarray(leaf)[1], before[0].astype(dtype))


def test_it_spares_a_sixth_of_the_state_and_is_part_of_the_recipe() -> None:
    short, plain = Train(moment_dtype="bfloat16"), Train()
    assert state_bytes(Model(), short, 100, 3) * 6 == state_bytes(Model(), plain, 100, 3) * 5
    assert "moment_dtype" not in plain.recipe()  # the hash of a run that was begun before the key stands
    assert short.recipe()["moment_dtype"] == "bfloat16"
    assert Train.model_validate(short.model_dump(mode="json")) == short
