"""k-means in JAX: k-means++ start, weighted Lloyd steps, and prices that keep clusters balanced."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

Array = Any
_STEPS, _ROUNDS, _TRIALS = 30, 20, 4


def kmeans(x_ND: NDArray[np.float32], weight_N: NDArray[np.float32], k: int, seed: int) -> NDArray[np.float32]:
    """Centroids that minimise Σ wᵢ‖xᵢ − c‖², by k-means++ (best of several candidates a step) and Lloyd steps."""
    x_ND, weight_N = _sharded(x_ND), _sharded(weight_N)
    centroids_KD = _plus_plus(x_ND, weight_N, jax.random.key(seed), k)
    return np.asarray(_lloyd(x_ND, weight_N, centroids_KD))


def balance(
    x_ND: NDArray[np.float32], weight_N: NDArray[np.float32], centroids_KD: NDArray[np.float32], cap: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centroids and prices such that argmin ‖x − c‖² + price loads no cluster with more than `cap` times the mean.

    Centroids and prices are renewed in turn, the prices by Sinkhorn steps; an auction settles the last overloads.
    Rows are indivisible, so a cap close to 1 may be missed by the weight of a few.
    """
    x_ND, weight_N = _sharded(x_ND), _sharded(weight_N)
    limit = cap * float(np.sum(weight_N)) / len(centroids_KD)
    centroids_KD, prices_K = _balance(x_ND, weight_N, jnp.asarray(centroids_KD), jnp.float32(limit))
    return np.asarray(centroids_KD), np.asarray(prices_K)


def assign(x_ND: NDArray[np.float32], centroids_KD: NDArray[np.float32], prices_K: NDArray[np.float32]) -> NDArray[Any]:
    """The cluster of each row: the one rule of preparation and routing. NumPy, so that workers need no JAX."""
    cost_NK = (centroids_KD**2).sum(1) + prices_K - 2 * x_ND @ centroids_KD.T
    return np.argmin(cost_NK, axis=1)


def _sharded(rows: NDArray[np.float32]) -> Array:
    """Rows spread over the local devices; the jitted steps then reduce over them."""
    devices = jax.local_devices()
    rows = np.pad(rows, [(0, -len(rows) % len(devices))] + [(0, 0)] * (rows.ndim - 1))
    mesh = jax.sharding.Mesh(np.array(devices), ("row",))
    return jax.device_put(rows, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("row")))


def _cost(x_ND: Array, centroids_KD: Array) -> Array:
    """‖c‖² − 2 x·c: squared distances up to ‖x‖², which no choice of cluster depends on."""
    dot_NK = jnp.matmul(x_ND, centroids_KD.T, precision="highest")
    return (centroids_KD**2).sum(1) - 2 * dot_NK


def _means(x_ND: Array, weight_N: Array, chosen_N: Array, old_KD: Array) -> Array:
    share_NK = jax.nn.one_hot(chosen_N, len(old_KD), dtype=x_ND.dtype) * weight_N[:, None]
    load_K = share_NK.sum(0)
    mean_KD = jnp.matmul(share_NK.T, x_ND, precision="highest") / jnp.maximum(load_K, 1e-30)[:, None]
    return jnp.where(load_K[:, None] > 0, mean_KD, old_KD)


@partial(jax.jit, static_argnames="k")
def _plus_plus(x_ND: Array, weight_N: Array, key: Array, k: int) -> Array:
    def distance(centre_D: Array) -> Array:
        return jnp.maximum(((x_ND - centre_D) ** 2).sum(1), 0.0)

    def step(index: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        centroids_KD, nearest_N, key = state
        key, draw = jax.random.split(key)
        odds_N = jnp.log(jnp.maximum(weight_N * nearest_N, 1e-30))
        odds_N = jnp.where(weight_N > 0, odds_N, -jnp.inf)
        candidates = jax.random.categorical(draw, odds_N, shape=(_TRIALS,))
        near_CN = jax.vmap(lambda c: jnp.minimum(nearest_N, distance(x_ND[c])))(candidates)
        best = jnp.argmin((near_CN * weight_N).sum(1))
        return centroids_KD.at[index].set(x_ND[candidates[best]]), near_CN[best], key

    key, draw = jax.random.split(key)
    first = x_ND[jax.random.categorical(draw, jnp.log(weight_N))]
    centroids_KD = jnp.zeros((k, x_ND.shape[1]), x_ND.dtype).at[0].set(first)
    return jax.lax.fori_loop(1, k, step, (centroids_KD, distance(first), key))[0]


@jax.jit
def _lloyd(x_ND: Array, weight_N: Array, centroids_KD: Array) -> Array:
    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        centroids_KD, _, count = state
        new_KD = _means(x_ND, weight_N, jnp.argmin(_cost(x_ND, centroids_KD), 1), centroids_KD)
        return new_KD, ((new_KD - centroids_KD) ** 2).sum(), count + 1

    def going(state: tuple[Array, Array, Array]) -> Array:
        return (state[1] > 1e-8) & (state[2] < _STEPS)

    return jax.lax.while_loop(going, step, (centroids_KD, jnp.float32(jnp.inf), 0))[0]


@jax.jit
def _balance(x_ND: Array, weight_N: Array, centroids_KD: Array, limit: Array) -> tuple[Array, Array]:
    def step(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        centroids_KD, prices_K = state
        cost_NK = _cost(x_ND, centroids_KD)
        prices_K = _soft_prices(cost_NK, weight_N, limit, prices_K, 0.01)
        return _means(x_ND, weight_N, jnp.argmin(cost_NK + prices_K, 1), centroids_KD), prices_K

    centroids_KD, prices_K = jax.lax.fori_loop(0, _STEPS, step, (centroids_KD, jnp.zeros(len(centroids_KD))))
    cost_NK = _cost(x_ND, centroids_KD)
    for blur in (0.01, 0.003, 0.001):
        prices_K = _soft_prices(cost_NK, weight_N, limit, prices_K, blur)
    return centroids_KD, _hard_prices(cost_NK, weight_N, limit, prices_K)


def _soft_prices(cost_NK: Array, weight_N: Array, limit: Array, prices_K: Array, blur: float) -> Array:
    """Sinkhorn steps for loads of at most `limit`, where each row is shared by softmax(−cost / blur)."""

    def step(_: int, prices_K: Array) -> Array:
        load_K = weight_N @ jax.nn.softmax(-(cost_NK + prices_K) / blur, axis=1)
        return jnp.maximum(prices_K + blur * jnp.log(jnp.maximum(load_K, 1e-30) / limit), 0.0)

    return jax.lax.fori_loop(0, 20, step, prices_K)


def _hard_prices(cost_NK: Array, weight_N: Array, limit: Array, prices_K: Array) -> Array:
    """Raise the price of the fullest cluster to the margin of the last row that fits, until every load fits."""
    k = cost_NK.shape[1]

    def loads(prices_K: Array) -> Array:
        return jnp.zeros(k).at[jnp.argmin(cost_NK + prices_K, 1)].add(weight_N)

    def raise_one(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        prices_K, load_K, count = state
        full = jnp.argmax(load_K)
        others_N = jnp.where(jnp.arange(k) == full, jnp.inf, cost_NK + prices_K).min(1)
        margin_N = jnp.where(weight_N > 0, others_N - cost_NK[:, full], -jnp.inf)
        order_N = jnp.argsort(-margin_N)
        first_out = margin_N[order_N][jnp.argmax(jnp.cumsum(weight_N[order_N]) > limit)]
        # A little above the margin, or that row would stay by a tie.
        prices_K = prices_K.at[full].set(jnp.maximum(first_out, prices_K[full]) + 1e-6)
        return prices_K, loads(prices_K), count + 1

    def going(state: tuple[Array, Array, Array]) -> Array:
        return (state[1].max() > limit) & (state[2] < _ROUNDS * k)

    return jax.lax.while_loop(going, raise_one, (prices_K, loads(prices_K), 0))[0]
