"""A plain hand-written JAX training loop of the same model: what a person writes in an hour."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .warm import until_settled


def measure(shape: dict[str, int], precision: str, steps: int) -> float:
    """Seconds of a training step, the best of `steps`, after what is compiled."""
    params, tokens = _init(shape), _tokens(shape)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-4, b2=0.98))
    dtype = jnp.dtype(precision)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        loss, grads = jax.value_and_grad(_loss)(params, tokens, shape["heads"], dtype)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    made: list[Any] = [params, optimizer.init(params), 0.0]

    def run() -> None:
        made[:] = jax.block_until_ready(step(*made[:2]))

    until_settled(run, step._cache_size)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    assert np.isfinite(made[2])
    return min(times)


def _tokens(shape: dict[str, int]) -> Any:
    size = (shape["batch"], shape["seq"] + 1)
    return jnp.asarray(np.random.default_rng(0).integers(0, shape["vocab"], size, np.int32))


def _init(shape: dict[str, int]) -> Any:
    D, F, rng = shape["width"], shape["ffn"], np.random.default_rng(0)

    def matrix(n_in: int, n_out: int) -> Any:
        return jnp.asarray(rng.normal(0, n_in**-0.5, (n_in, n_out)), jnp.float32)

    def layer() -> dict[str, Any]:
        square = {name: matrix(D, D) for name in ("q", "k", "v", "o")}
        ffn = {"gate": matrix(D, F), "up": matrix(D, F), "down": matrix(F, D)}
        return square | ffn | {"norm1": jnp.ones(D), "norm2": jnp.ones(D)}

    embed = jnp.asarray(rng.normal(0, 0.02, (shape["vocab"], D)), jnp.float32)
    return {"embed": embed, "layers": [layer() for _ in range(shape["layers"])], "norm": jnp.ones(D)}


def _norm(x: Any, gain: Any) -> Any:
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6).astype(x.dtype) * gain.astype(x.dtype)


def _rope(x: Any) -> Any:
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None] * 10_000.0 ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angle)[:, None].astype(x.dtype), jnp.sin(angle)[:, None].astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _loss(params: Any, tokens: Any, heads: int, dtype: Any) -> Any:
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    x = params["embed"][tokens[:, :-1]]
    B, S, D = x.shape
    for w in params["layers"]:
        h = _norm(x, w["norm1"])
        q, k, v = ((h @ w[name]).reshape(B, S, heads, D // heads) for name in "qkv")
        mixed = jax.nn.dot_product_attention(_rope(q), _rope(k), v, is_causal=True)
        x = x + mixed.reshape(B, S, D) @ w["o"]
        h = _norm(x, w["norm2"])
        x = x + (jax.nn.silu(h @ w["gate"]) * (h @ w["up"])) @ w["down"]
    logits = (_norm(x, params["norm"]) @ params["embed"].T).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()
