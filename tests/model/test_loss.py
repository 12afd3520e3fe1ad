"""The blocked loss against plain automatic differentiation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.model.loss import blocks_for, mean_loss, rows_at_once, token_losses, token_scores


def _plain(x: Any, head: Any, target: Any, z_loss: float, cap: float | None) -> Any:
    logits = x @ head
    logits = logits if cap is None else cap * jnp.tanh(logits / cap)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    nll = log_z - jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    return (nll + z_loss * log_z**2).mean(), nll


@pytest.mark.parametrize("blocks", [1, 2, 6])
@pytest.mark.parametrize(("z_loss", "cap"), [(0.0, None), (0.1, None), (0.1, 1.5)])
def test_blocks_change_neither_loss_nor_gradient(blocks: int, z_loss: float, cap: float | None) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    x, head = jax.random.normal(keys[0], (2, 6, 5)), jax.random.normal(keys[1], (5, 11))
    target = jax.random.randint(keys[2], (2, 6), 0, 11)
    (wanted, nll), wanted_grads = jax.value_and_grad(_plain, (0, 1), has_aux=True)(x, head, target, z_loss, cap)
    # Times three, so that a backward pass which forgot its cotangent shows.
    got, got_grads = jax.value_and_grad(
        lambda x, head: 3 * mean_loss(x, head, target, z_loss, blocks, cap)[0], (0, 1)
    )(x, head)
    np.testing.assert_allclose(got / 3, wanted, rtol=1e-5)
    np.testing.assert_allclose(mean_loss(x, head, target, z_loss, blocks, cap)[1], nll.mean(), rtol=1e-5)
    np.testing.assert_allclose(token_losses(x, head, target, blocks, cap), nll, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(token_scores(x, head, target, blocks, cap)[0], nll, rtol=1e-4, atol=1e-5)
    for a, b in zip(got_grads, wanted_grads, strict=True):
        np.testing.assert_allclose(a / 3, b, rtol=1e-4, atol=1e-6)


def test_huge_logits_stay_finite() -> None:
    x, target = jnp.full((1, 2, 1), 1e4), jnp.array([[0, 1]])
    head = jnp.array([[1.0, -1.0]])
    np.testing.assert_allclose(token_losses(x, head, target, 1), [[0.0, 2e4]])


@given(st.integers(1, 64), st.integers(1, 512), st.integers(1, 200_000))
def test_blocks_divide_the_length_and_bound_the_logits(batch: int, length: int, vocab: int) -> None:
    blocks = blocks_for(batch, length, vocab)
    assert length % blocks == 0
    rows = batch * length // blocks
    assert rows <= 512 or rows * vocab <= 1 << 21 or blocks == length


def test_a_gpu_takes_few_large_blocks_of_what_its_memory_holds() -> None:
    """32,768 tokens at 32,768 words are 4.3 GB of logits: four blocks on 80 GB, sixteen on 24 GB, 64 on a CPU."""
    found = [blocks_for(16, 2048, 32768, rows_at_once(32768, *device))
             for device in (("gpu", 80e9), ("gpu", 24e9), ("gpu", None), ("cpu", 80e9), ("tpu", 80e9))]
    assert found == [4, 16, 16, 64, 64]
