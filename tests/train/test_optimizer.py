from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from splitjax.model import Group
from splitjax.train.optimizer import update

from .helpers import recipe

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "gain": jnp.array([1.0, 2.0])}
SAME = {"w": Group(1.0, True), "gain": Group(1.0, False)}


def grads_at(t: int) -> dict:
    return {name: jax.random.normal(jax.random.key(t), leaf.shape) for name, leaf in PARAMS.items()}


def ours(train, groups, steps: int = 3, rate: float = 1e-2) -> dict:
    params, mu, nu = PARAMS, jax.tree.map(jnp.zeros_like, PARAMS), jax.tree.map(jnp.zeros_like, PARAMS)
    for t in range(steps):
        params, mu, nu = update(train, groups, params, mu, nu, jnp.int32(t), grads_at(t), jnp.float32(rate))
    return params


def test_is_adamw():
    train = recipe(weight_decay=0.3, betas=(0.8, 0.9))
    reference = optax.adamw(1e-2, b1=0.8, b2=0.9, weight_decay=0.3, mask={"w": True, "gain": False})
    params, state = PARAMS, reference.init(PARAMS)
    for t in range(3):
        update, state = reference.update(grads_at(t), state, params)
        params = optax.apply_updates(params, update)
    for name, leaf in ours(train, SAME).items():
        assert np.asarray(leaf) == pytest.approx(np.asarray(params[name]), abs=1e-6)


def test_a_group_s_multiplier_scales_the_step_and_not_the_decay():
    train = recipe(weight_decay=0.0)
    halved = {"w": Group(0.5, True), "gain": Group(1.0, False)}
    full, half = ours(train, SAME, 1), ours(train, halved, 1)
    assert np.asarray(half["w"] - PARAMS["w"]) == pytest.approx(np.asarray(full["w"] - PARAMS["w"]) / 2, abs=1e-6)
    still = {"w": Group(0.0, True), "gain": Group(0.0, False)}
    decayed = ours(recipe(weight_decay=0.3), still, 1, rate=0.1)
    assert np.asarray(decayed["w"]) == pytest.approx(0.97 * np.asarray(PARAMS["w"]))
    assert np.array_equal(decayed["gain"], PARAMS["gain"])


@pytest.mark.parametrize("change", [{"betas": (0.5, 0.98)}, {"betas": (0.9, 0.5)}, {"weight_decay": 0.7}])
def test_every_setting_counts(change):
    assert not np.array_equal(ours(recipe(**change), SAME)["w"], ours(recipe(), SAME)["w"])
