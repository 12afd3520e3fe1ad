"""Norms with their sum, readers and rotation: formulas and kernels against what JAX derives by itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from splitjax.model import norms
from splitjax.model.attention import rotary, turn
from splitjax.model.kernels import calls, norm_kernels

EPSILON = 1e-5
BY = pytest.mark.parametrize("kernels", [False, True], ids=["formulas", "kernels"])


@pytest.fixture
def run_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Let kernels run (interpreted), or the formulas."""

    def choose(kernels: bool) -> None:
        monkeypatch.setattr(calls, "runs", lambda: kernels)
        monkeypatch.setattr(calls, "_INTERPRETED", True)

    return choose


def plain_norm(x: Array, scale: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON) * scale


def plain(x: Array, added: Array, scale: Array, readers: int) -> tuple[Array, ...]:
    total = x + added
    return (total, *(plain_norm(total, scale),) * readers)


def ours(x: Array, added: Array, scale: Array, readers: int) -> tuple[Array, ...]:
    return norms._norm(x, added, scale, EPSILON, readers)


def pulled(function: Callable[..., Any], *args: Array, seed: int = 7) -> list[Array]:
    """Results and gradients under cotangents that differ from result to result."""
    out, pull = jax.vjp(function, *args)
    keys = iter(jax.random.split(jax.random.key(seed), 16))
    given_back = pull(jax.tree.map(lambda one: jax.random.normal(next(keys), one.shape).astype(one.dtype), out))
    return [*jax.tree.leaves(out), *given_back]


def drawn(*shape: int, seed: int = 0, dtype: Any = jnp.float32) -> Array:
    return jax.random.normal(jax.random.key(seed), shape).astype(dtype)


def close(found: list[Array], wanted: list[Array], tolerance: float) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
        assert np.linalg.norm(difference) <= tolerance * np.linalg.norm(np.asarray(b, np.float64))


@BY
@pytest.mark.parametrize("width", [16, 24], ids=["power", "masked"])
def test_a_sum_and_its_norms_over_experts(run_by: Callable[[bool], None], kernels: bool, width: int) -> None:
    run_by(kernels)
    args = drawn(2, 3, 8, width), drawn(2, 3, 8, width, seed=1), drawn(2, width, seed=2)
    found = pulled(jax.vmap(partial(ours, readers=3)), *args)
    close(found, pulled(jax.vmap(partial(plain, readers=3)), *args), 1e-6)


@BY
def test_bfloat16_rounds_results_and_nothing_before(run_by: Callable[[bool], None], kernels: bool) -> None:
    """Against float32 arithmetic on the same numbers: a last place of bfloat16 is 2^-8."""
    run_by(kernels)
    x, added = drawn(2, 8, 32, dtype=jnp.bfloat16), jnp.zeros((2, 8, 32), jnp.bfloat16)
    scale = drawn(32, seed=2)
    found = pulled(partial(ours, readers=2), x, added, scale)
    assert [one.dtype for one in found] == [jnp.bfloat16] * 5 + [jnp.float32]
    wide = [one.astype(jnp.float32) for one in (x, added)]
    keys = iter(jax.random.split(jax.random.key(7), 16))
    out, pull = jax.vjp(partial(plain, readers=2), *wide, scale)
    rounded = [jax.random.normal(next(keys), one.shape).astype(jnp.bfloat16).astype(jnp.float32) for one in out]
    close(found[:-1], [*out, *pull(tuple(rounded))][:-1], 0.004)
    close(found[-1:], [pull(tuple(rounded))[2]], 0.004)


@BY
def test_a_turned_norm(run_by: Callable[[bool], None], kernels: bool) -> None:
    run_by(kernels)
    cos, sin = rotary(8, 16, 1e4)
    x, scale = drawn(2, 3, 8, 3, 16), drawn(2, 16, seed=1)
    found = pulled(jax.vmap(lambda x, s: norms._turned_norm(x, s, cos, sin, EPSILON)), x, scale)
    wanted = pulled(jax.vmap(lambda x, s: turn(plain_norm(x, s), cos, sin)), x, scale)
    close(found, wanted, 1e-6)


def test_gradients_in_double_precision() -> None:
    with jax.enable_x64(True):
        x, added, scale = (jnp.asarray(np.random.default_rng(n).normal(size=shape)) for n, shape in
                           enumerate(((2, 4, 6), (2, 4, 6), (6,))))
        assert x.dtype == jnp.float64
        wanted = pulled(partial(plain, readers=2), x, added, scale)
        close(pulled(partial(ours, readers=2), x, added, scale), wanted, 1e-13)
        heads = x.reshape(2, 4, 1, 6)
        cos, sin = rotary(4, 6, 1e4)
        found = pulled(lambda x, s: norms._turned_norm(x, s, cos, sin, EPSILON), heads, scale)
        close(found, pulled(lambda x, s: turn(plain_norm(x, s), cos, sin), heads, scale), 1e-13)


@settings(max_examples=6, deadline=None)
@given(
    rows=st.integers(1, 9), width=st.integers(1, 20), readers=st.integers(1, 3), size=st.floats(1e-3, 1e3),
)
def test_rows_of_any_number_width_and_size(rows: int, width: int, readers: int, size: float) -> None:
    args = drawn(1, rows, width) * size, drawn(1, rows, width, seed=1) * size, drawn(width, seed=2)
    close(pulled(partial(ours, readers=readers), *args), pulled(partial(plain, readers=readers), *args), 1e-5)


@BY
def test_nothing_to_add_and_one_reader_is_the_norm_of_flax(run_by: Callable[[bool], None], kernels: bool) -> None:
    run_by(kernels)
    found = norms.RMSNorm(16, epsilon=EPSILON, rngs=nnx.Rngs(0), scale_init=nnx.initializers.normal(1.0))
    wanted = nnx.RMSNorm(16, epsilon=EPSILON, rngs=nnx.Rngs(0), scale_init=nnx.initializers.normal(1.0))
    x = drawn(2, 8, 16)
    np.testing.assert_allclose(found(x), wanted(x), rtol=1e-6)
    total, copies = found.after(x, None, readers=2)
    np.testing.assert_array_equal(total, x)
    assert len(copies) == 2


_ON_FOUR_DEVICES = """
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
from splitjax import config
from splitjax.model import LanguageModel
from splitjax.model.kernels import calls
from splitjax.parallel import make_mesh
from splitjax.train import Trainer

calls._INTERPRETED = True
shape = config.Model(d_model=32, n_layers=1, n_heads=2, d_ff=16, qk_norm=True)
tokens = np.random.default_rng(0).integers(0, 64, (2, 2, 17)).astype(np.int32)

def step(kernels, mesh):
    calls.runs = lambda: kernels
    train = config.Train(seq_len=16, batch_size=2, attention="xla", expert_loop="vmap")
    trainer = Trainer(LanguageModel.under(train, shape, 64), train, mesh)
    controls = trainer.controls(np.full(2, 1e-3, np.float32), 32)
    _, metrics = trainer.step(trainer.init([0, 1]), trainer.placement.put_batch(tokens, 2, 2), controls)
    return np.asarray(metrics.loss_K), np.asarray(metrics.grad_norm_K)

wanted = step(False, None)
for sizes in ({"expert": 2, "fsdp": 2}, {"fsdp": 2, "tensor": 2}):
    np.testing.assert_allclose(step(True, make_mesh(**sizes)), wanted, rtol=1e-5)
print("equal on every mesh")
"""


@pytest.mark.slow
def test_kernels_share_out_experts_windows_and_heads_and_sum_their_gains() -> None:
    done = subprocess.run([sys.executable, "-c", _ON_FOUR_DEVICES], capture_output=True, text=True, timeout=400)
    assert "equal on every mesh" in done.stdout, done.stderr


def test_rows_to_be_turned_need_halves_without_a_mask(run_by: Callable[[bool], None]) -> None:
    run_by(True)
    assert norm_kernels.fit(drawn(1, 1, 24))
    assert norm_kernels.fit(drawn(1, 1, 1, 64), turned=True)
    assert not norm_kernels.fit(drawn(1, 1, 1, 96), turned=True)
