"""k-means in JAX: k-means++ starts, weighted Lloyd steps, and prices that keep clusters balanced."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

Array = Any
Rows = NDArray[np.float32]
_STARTS, _TRIALS, _SAMPLE = 8, 4, 4096  # k-means++: starts tried on a sample of rows, draws a centre
_STEPS, _STILL = 50, 1e-5  # Lloyd steps at most; centroids that move less (squared) stand still
_BALANCED_STARTS, _TURNS, _ROUNDS = 3, 15, 50


def kmeans(x_ND: Rows, weight_N: Rows, k: int, seed: int) -> Rows:
    """Centroids that minimise Σ wᵢ‖xᵢ − c‖²: starts are compared on a sample of rows, the best one goes on with all.

    Args:
        weight_N: weight of each row, for instance its tokens.
        seed: of the starts; equal arguments give equal centroids.
    """
    return np.asarray(_best_start(_sharded(x_ND), _sharded(weight_N), jax.random.key(seed), k))


def balance(x_ND: Rows, weight_N: Rows, k: int, cap: float, seed: int) -> tuple[Rows, Rows]:
    """Centroids and prices such that argmin ‖x − c‖² + price loads no cluster with more than `cap` times the mean.

    Centroids and prices are renewed in turn, the prices by Sinkhorn steps; an auction settles what is left. Of a few
    starts the cheapest that keeps the cap is taken. Rows are indivisible, so a cap close to 1 may be missed by the
    weight of a few.
    """
    x_ND, weight_N = _sharded(x_ND), _sharded(weight_N)
    limit = jnp.float32(cap) * weight_N.sum() / k
    found = []
    for start in range(_BALANCED_STARTS):
        centroids_KD = _best_start(x_ND, weight_N, jax.random.key(seed + 7919 * start), k)
        centroids_KD, prices_K, load, cost = _balance(x_ND, weight_N, centroids_KD, limit)
        found.append((max(float(load / limit), 1.0), float(cost), np.asarray(centroids_KD), np.asarray(prices_K)))
    return min(found, key=lambda one: one[:2])[2:]


def assign(x_ND: Rows, centroids_KD: Rows, prices_K: Rows) -> NDArray[np.int64]:
    """The cluster of each row: the one rule of preparation and routing."""
    return np.argmin(costs(x_ND, centroids_KD, prices_K), axis=1)


def costs(x_ND: Rows, centroids_KD: Rows, prices_K: Rows) -> Rows:
    """What each cluster asks of each row: ‖c‖² − 2 x·c + price. NumPy, so that workers need no JAX."""
    return (centroids_KD**2).sum(1) + prices_K - 2 * x_ND @ centroids_KD.T


def _sharded(rows: Rows) -> Array:
    """Rows spread over the local devices (padded with zeros, which weigh nothing); jitted steps reduce over them."""
    devices = jax.local_devices()
    rows = np.pad(rows, [(0, -len(rows) % len(devices))] + [(0, 0)] * (rows.ndim - 1))
    mesh = jax.sharding.Mesh(np.array(devices), ("row",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.device_put(rows, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("row")))


def _cost(x_ND: Array, centroids_KD: Array) -> Array:
    """‖c‖² − 2 x·c: squared distances up to ‖x‖², which no choice of cluster depends on."""
    return (centroids_KD**2).sum(1) - 2 * jnp.matmul(x_ND, centroids_KD.T, precision="highest")


def _means(x_ND: Array, weight_N: Array, chosen_N: Array, old_KD: Array) -> Array:
    share_NK = jax.nn.one_hot(chosen_N, len(old_KD), dtype=x_ND.dtype) * weight_N[:, None]
    load_K = share_NK.sum(0)
    mean_KD = jnp.matmul(share_NK.T, x_ND, precision="highest") / jnp.maximum(load_K, 1e-30)[:, None]
    return jnp.where(load_K[:, None] > 0, mean_KD, old_KD)


@partial(jax.jit, static_argnames="k")
def _best_start(x_ND: Array, weight_N: Array, key: Array, k: int) -> Array:
    rows = jax.random.choice(key, len(x_ND), (min(_SAMPLE, len(x_ND)),), replace=False)
    some_ND, some_N = x_ND[rows], weight_N[rows]

    def start(key: Array) -> tuple[Array, Array]:
        centroids_KD = _lloyd(some_ND, some_N, _plus_plus(some_ND, some_N, key, k))
        return centroids_KD, (_cost(some_ND, centroids_KD).min(1) * some_N).sum()

    starts_SKD, cost_S = jax.lax.map(start, jax.random.split(key, _STARTS))
    return _lloyd(x_ND, weight_N, starts_SKD[jnp.argmin(cost_S)])


def _plus_plus(x_ND: Array, weight_N: Array, key: Array, k: int) -> Array:
    """Centres drawn by weight times squared distance to the nearest so far, the best of a few draws each time."""
    square_N = (x_ND**2).sum(1)

    def step(index: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        centroids_KD, nearest_N = state
        total_N = jnp.cumsum(weight_N * nearest_N)
        draws_C = jax.random.uniform(jax.random.fold_in(key, index), (_TRIALS,)) * total_N[-1]
        drawn_CD = x_ND[jnp.searchsorted(total_N, draws_C, side="right").clip(max=len(total_N) - 1)]
        near_NC = jnp.minimum(nearest_N[:, None], square_N[:, None] + _cost(x_ND, drawn_CD))
        best = jnp.argmin(weight_N @ near_NC)
        return centroids_KD.at[index].set(drawn_CD[best]), jnp.maximum(near_NC[:, best], 0.0)

    first = jnp.full_like(square_N, 1e6)  # farther than any row: the first draw is by weight alone
    return jax.lax.fori_loop(0, k, step, (jnp.zeros((k, x_ND.shape[1]), x_ND.dtype), first))[0]


def _lloyd(x_ND: Array, weight_N: Array, centroids_KD: Array) -> Array:
    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        centroids_KD, _, count = state
        new_KD = _means(x_ND, weight_N, jnp.argmin(_cost(x_ND, centroids_KD), 1), centroids_KD)
        return new_KD, ((new_KD - centroids_KD) ** 2).sum(), count + 1

    def going(state: tuple[Array, Array, Array]) -> Array:
        return (state[1] > _STILL) & (state[2] < _STEPS)

    return jax.lax.while_loop(going, step, (centroids_KD, jnp.float32(jnp.inf), 0))[0]


@jax.jit
def _balance(
    x_ND: Array, weight_N: Array, centroids_KD: Array, limit: Array
) -> tuple[Array, Array, Array, Array]:
    """Centroids, prices, the greatest load and the cost Σ w (‖x − c‖² − ‖x‖²)."""

    def step(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        centroids_KD, prices_K = state
        cost_NK = _cost(x_ND, centroids_KD)
        prices_K = _soft_prices(cost_NK, weight_N, limit, prices_K, 0.02, 10)
        return _means(x_ND, weight_N, jnp.argmin(cost_NK + prices_K, 1), centroids_KD), prices_K

    centroids_KD, prices_K = jax.lax.fori_loop(0, _TURNS, step, (centroids_KD, jnp.zeros(len(centroids_KD))))
    cost_NK = _cost(x_ND, centroids_KD)
    for blur in (0.02, 0.005, 0.001):
        prices_K = _soft_prices(cost_NK, weight_N, 0.998 * limit, prices_K, blur, 200)
    prices_K, load = _hard_prices(cost_NK, weight_N, limit, prices_K)
    chosen_N1 = jnp.argmin(cost_NK + prices_K, 1, keepdims=True)
    return centroids_KD, prices_K, load, (jnp.take_along_axis(cost_NK, chosen_N1, 1)[:, 0] * weight_N).sum()


def _soft_prices(
    cost_NK: Array, weight_N: Array, limit: Array, prices_K: Array, blur: float, steps: int
) -> Array:
    """Sinkhorn steps towards loads of at most `limit`, where each row is shared by softmax(−cost / blur)."""

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        prices_K, _, count = state
        load_K = weight_N @ jax.nn.softmax(-(cost_NK + prices_K) / blur, axis=1)
        new_K = jnp.maximum(prices_K + blur * jnp.log(jnp.maximum(load_K, 1e-30) / limit), 0.0)
        return new_K, jnp.abs(new_K - prices_K).max(), count + 1

    def going(state: tuple[Array, Array, Array]) -> Array:
        return (state[1] > 1e-3 * blur) & (state[2] < steps)

    return jax.lax.while_loop(going, step, (prices_K, jnp.float32(jnp.inf), 0))[0]


def _hard_prices(cost_NK: Array, weight_N: Array, limit: Array, prices_K: Array) -> tuple[Array, Array]:
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

    prices_K, load_K, _ = jax.lax.while_loop(going, raise_one, (prices_K, loads(prices_K), 0))
    return prices_K, load_K.max()
