"""The gate of a feed-forward layer: formula and kernel against what JAX derives by itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax.model.gate import gated
from splitjax.model.kernels import calls, gate_kernels
from splitjax.parallel import make_mesh

BY = pytest.mark.parametrize("kernel", [False, True], ids=["formula", "kernel"])


def _pulled(function: Any, *args: Any) -> list[Any]:
    out, pull = jax.vjp(function, *args)
    return [out, *pull(jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape).astype(out.dtype))]


def _drawn(*shape: int, dtype: Any = jnp.float32) -> list[Any]:
    return [3 * jax.random.normal(key, shape).astype(dtype) for key in jax.random.split(jax.random.key(0), 2)]


def _apart(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def _plain(gate: Any, up: Any) -> Any:
    return jax.nn.silu(gate) * up


@pytest.fixture
def used(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whether the kernel ran (interpreted), by what it was called with."""
    seen: list[int] = []

    def spy(*args: Any) -> Any:
        seen.append(len(args[2]))
        return call(*args)

    call = gate_kernels.call
    monkeypatch.setattr(calls, "runs", lambda: kernel)
    monkeypatch.setattr(calls, "_INTERPRETED", True)
    monkeypatch.setattr(gate_kernels, "call", spy)
    return seen


@BY
@pytest.mark.parametrize("shape", [(2, 8, 96), (1, 3, 8192), (2, 5, 7)], ids=str)
def test_gradients_over_experts(used: list[int], kernel: bool, shape: tuple[int, ...]) -> None:
    """The last shape has no block that is worth a program."""
    args = _drawn(2, *shape)
    found, wanted = _pulled(jax.vmap(gated), *args), _pulled(jax.vmap(_plain), *args)
    assert max(map(_apart, found, wanted)) < 1e-6
    assert bool(used) == (kernel and shape != (2, 5, 7))


@BY
def test_bfloat16_is_rounded_once(used: list[int], kernel: bool) -> None:
    args = _drawn(2, 8, 96, dtype=jnp.bfloat16)
    found, exact = _pulled(gated, *args), _pulled(_plain, *(x.astype(jnp.float32) for x in args))
    assert [x.dtype for x in found] == [jnp.bfloat16] * 3
    assert max(map(_apart, found[1:], exact[1:])) < 2.5e-3  # half a unit in the last of 8 bits, in the mean


@BY
def test_on_a_mesh(used: list[int], kernel: bool) -> None:
    args = _drawn(2, 2, 8, 96)
    with jax.set_mesh(make_mesh()):
        found = jax.jit(lambda *x: _pulled(jax.vmap(gated, spmd_axis_name="expert"), *x))(*args)
    assert max(map(_apart, found, _pulled(jax.vmap(_plain), *args))) < 1e-6
    assert bool(used) == kernel
