"""The reference path: scipy's L-BFGS-B from random starts, with JAX's gradients. Slow, independent of the solver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from .engine import Found, Part, Problem
from .families import Rows
from .form import Form
from .solver import Loss


def search(problem: Problem, loss: Loss, weights: np.ndarray, starts: int, rng: np.random.Generator) -> Found:
    """Best of `starts` random L-BFGS-B runs within the bounds that the solver has.

    Args:
        problem: family and table.
        loss: what is summed.
        weights: of the rows.
        starts: how many.
        rng: of the starts.
    """
    return Found.of([_part(problem, part, loss, weights, starts, rng) for part in problem.parts])


def _part(
    problem: Problem, part: Part, loss: Loss, weights: np.ndarray, starts: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    form = part.form
    data = problem.data(part, problem.table.loss[None], weights[None])
    low, high = form.bounds
    with on_host():
        slope = jax.jit(jax.value_and_grad(partial(value, form, loss.kind, data.rows, data.y[0], data.w[0])))
        ends = [_descend(slope, _start(problem, part, rng), low, high, loss.delta) for _ in range(starts)]
    return np.stack([x for x, _ in ends]), np.array([f for _, f in ends])


def _start(problem: Problem, part: Part, rng: np.random.Generator) -> np.ndarray:
    form = part.form
    x = np.zeros(form.size)
    for g in range(len(form.domains)):
        linear = rng.uniform(0, problem.table.loss.mean(), form.n_linear)
        x[form.index[g]] = [*linear, *(rng.uniform(*parameter.start) for parameter in form.nonlinear)]
    return np.clip(x, *form.bounds)


def _descend(slope: Any, x: np.ndarray, low: np.ndarray, high: np.ndarray, delta: float) -> tuple[np.ndarray, float]:
    size = max(float(slope(x, delta)[0]), 1e-300)  # an objective of 1e-3 meets absolute tolerances too early

    def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = slope(x, delta)
        return float(f) / size, np.asarray(g) / size

    options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-12}
    end = minimize(scaled, x, jac=True, method="L-BFGS-B", bounds=np.stack([low, high], 1), options=options)
    return end.x, float(end.fun) * size if np.isfinite(end.fun) else np.inf


def value(
    form: Form, kind: str, rows: Rows, y: jax.Array, w: jax.Array, x: jax.Array, delta: jax.Array
) -> jax.Array:
    """Objective at x; rows, y, w are [G, n]."""

    def domain(z: jax.Array, rows: Rows, y: jax.Array, w: jax.Array) -> jax.Array:
        f = jnp.stack(form.columns(jnp, list(z[form.n_linear :]), rows), -1) @ z[: form.n_linear]
        r = jnp.log(jnp.maximum(f, 1e-300) / y) if kind == "huber" else f - y
        size = jnp.abs(r)
        huber = jnp.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))
        return jnp.sum(w * (huber if kind == "huber" else 0.5 * r * r))

    return jnp.sum(jax.vmap(domain)(x[form.index], rows, y, w))


@contextmanager
def on_host() -> Iterator[None]:
    """Float64 on the CPU, for this thread and block alone: a training process may hold an accelerator without it."""
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        host = None
    with jax.enable_x64(True), jax.default_device(host):
        yield
