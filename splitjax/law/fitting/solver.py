"""The batched fit: every start, held-out fit and bootstrap draw is a lane of one jitted program, in float64.

`screen` scores many nonlinear parameter vectors with the linear ones projected out (variable projection, exact
non-negative least squares). `refine` descends from a start: projected Newton steps, damped towards iteratively
reweighted least squares. The damping matrix is the Huber loss's quadratic majorizer, so far from the optimum a step
is a robust Gauss-Newton step and close to it an exact Newton step, which is what makes a loss that is nearly L1
converge to the last digits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .families import Rows
from .form import Form

LANES = 32
"""Lanes of a program: one shape, so one compilation for all uses."""
ROW_MULTIPLE = 64
"""Rows are padded to a multiple of this, so that similar tables share compilations."""
SCREEN = 512
_SLOW = 1e-2
"""Relative gain of a step below which the annealed Huber threshold is halved."""
_TINY = 1e-300


class Loss(NamedTuple):
    """What is summed over rows: Huber(delta) of log residuals, or squares of plain residuals."""

    kind: str
    delta: float


class Data(NamedTuple):
    """Rows by domain, padded with weight 0: coordinates [G, n], losses and weights [lanes, G, n]."""

    rows: Rows
    y: Any
    w: Any


def screen(form: Form, loss: Loss, data: Data, thetas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Objective and best linear parameters at each of `thetas` [M, G, q] → ([M], [M, G, J]), for lane 0 of `data`."""
    scores, linear = [], []
    for start in range(0, len(thetas), SCREEN):
        chunk = _padded(thetas[start : start + SCREEN], SCREEN)
        score, c = _run(_screen, form, loss.kind, data.rows, data.y[0], data.w[0], chunk, np.float64(loss.delta))
        scores.append(score)
        linear.append(c)
    return np.concatenate(scores)[: len(thetas)], np.concatenate(linear)[: len(thetas)]


def refine(
    form: Form, loss: Loss, data: Data, x: np.ndarray, low: np.ndarray, high: np.ndarray, *,
    anneal: float = 1.0, steps: int = 60,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise from each start.

    Args:
        form: the laid-out family.
        loss: what is summed.
        data: `y` and `w` with one lane a start.
        x, low, high: starts and bounds [lanes, size]; equal bounds hold a parameter still.
        anneal: Huber's delta begins this many times larger and shrinks, to step over small local minima.
        steps: at most; a lane that converges earlier waits for the others of its batch.

    Returns:
        Minimisers [lanes, size] and objectives [lanes].
    """
    xs = []
    for start in range(0, len(x), LANES):
        args = [_padded(part[start : start + LANES], LANES) for part in (data.y, data.w, x, low, high)]
        (best,) = _run(_refine, form, loss.kind, data.rows, *args, np.float64(loss.delta), np.float64(anneal),
                       np.int32(steps))  # fmt: skip
        xs.append(best)
    found = np.concatenate(xs)[: len(x)]
    return found, objective(form, loss, data, found)


def objective(form: Form, loss: Loss, data: Data, x: np.ndarray) -> np.ndarray:
    """Objective of each lane's x, [lanes]."""
    total = np.zeros(len(x))
    for g in range(len(form.domains)):
        f = np.maximum(form.losses(x, Rows(*(part[g] for part in data.rows)), g), _TINY)
        r = np.log(f / data.y[:, g]) if loss.kind == "huber" else f - data.y[:, g]
        size = np.abs(r)
        huber = loss.delta * (size - 0.5 * loss.delta)
        value = np.where(size <= loss.delta, 0.5 * r * r, huber) if loss.kind == "huber" else 0.5 * r * r
        total += (data.w[:, g] * value).sum(1)
    return total


_COMPILED: dict[Any, Any] = {}
_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def on_host() -> Iterator[None]:
    """Float64 on the CPU, for this thread and block alone: a training process may hold an accelerator without it."""
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        host = None
    with jax.enable_x64(True), jax.default_device(host):
        yield


def _run(function: Any, form: Form, kind: str, *args: Any) -> list[np.ndarray]:
    """Call a jitted function in float64; families compile side by side on threads, but run one after the other.

    Two programs with LAPACK calls in a loop, run at once, can block each other for ever on a CPU client with two
    threads (seen with jaxlib 0.10.2).
    """
    shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(args))
    key = (function.__name__, form, kind, shapes)
    with on_host():
        if key not in _COMPILED:
            _COMPILED[key] = jax.jit(partial(function, form, kind)).lower(*args).compile()
        with _ONE_AT_A_TIME:
            return [np.asarray(out) for out in jax.tree.leaves(_COMPILED[key](*args))]


def _padded(part: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([part, part[-1:].repeat(length - len(part), 0)]) if len(part) < length else part


def _columns(form: Form, theta: jax.Array, rows: Rows) -> jax.Array:
    """[rows, linear parameters]."""
    return jnp.stack(form.columns(jnp, list(theta), rows), -1)


def _residual(kind: str, f: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(f, _TINY) / y) if kind == "huber" else f - y


def _rho(kind: str, r: jax.Array, delta: jax.Array) -> jax.Array:
    size = jnp.abs(r)
    return jnp.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta)) if kind == "huber" else 0.5 * r * r


def value(
    form: Form, kind: str, rows: Rows, y: jax.Array, w: jax.Array, x: jax.Array, delta: jax.Array
) -> jax.Array:
    """Objective at x; rows, y, w are [G, n]."""

    def domain(z: jax.Array, rows: Rows, y: jax.Array, w: jax.Array) -> jax.Array:
        f = _columns(form, z[form.n_linear :], rows) @ z[: form.n_linear]
        return jnp.sum(w * _rho(kind, _residual(kind, f, y), delta))

    return jnp.sum(jax.vmap(domain)(x[form.index], rows, y, w))


class _Local(NamedTuple):
    """What a step needs: the matrix is the exact Hessian plus damping times the majorizer."""

    value: jax.Array
    gradient: jax.Array
    matrix: jax.Array
    diagonal: jax.Array
    """Of the majorizer."""


def _local(
    form: Form, kind: str, z: jax.Array, rows: Rows, y: jax.Array, w: jax.Array, delta: jax.Array, damping: jax.Array
) -> _Local:
    """One domain's objective in its local vector."""
    J = form.n_linear
    c, theta = z[:J], z[J:]
    columns = _columns(form, theta, rows)
    slopes = jax.jacfwd(lambda t: _columns(form, t, rows))(theta)
    f = jnp.maximum(columns @ c, _TINY)
    r = _residual(kind, f, y)
    if kind == "huber":
        stretch = 1.0 / f
        psi = jnp.clip(r, -delta, delta)
        second = jnp.where(jnp.abs(r) <= delta, 1.0, 0.0) - psi  # -psi: curvature of the logarithm
        bound = delta / jnp.maximum(jnp.abs(r), delta)
    else:
        stretch, psi, second, bound = jnp.ones_like(f), r, jnp.ones_like(f), jnp.ones_like(f)
    jacobian = jnp.concatenate([columns, slopes.transpose(0, 2, 1) @ c], 1) * stretch[:, None]
    pull = w * psi * stretch
    bend = jax.hessian(lambda t: pull @ (_columns(form, t, rows) @ c))(theta)
    cross = jnp.tensordot(pull, slopes, 1)
    extra = jnp.block([[jnp.zeros((J, J)), cross], [cross.T, bend]])
    matrix = jacobian.T @ ((w * (second + damping * bound))[:, None] * jacobian) + extra
    diagonal = (w * bound) @ (jacobian * jacobian)
    return _Local(jnp.sum(w * _rho(kind, r, delta)), jacobian.T @ (w * psi), matrix, diagonal)


def _gathered(
    form: Form, kind: str, rows: Rows, y: Any, w: Any, x: jax.Array, delta: jax.Array, damping: jax.Array
) -> _Local:
    """The same for x: local parts summed over domains."""
    local = jax.vmap(lambda z, rows, y, w: _local(form, kind, z, rows, y, w, delta, damping))(
        x[form.index], rows, y, w
    )
    if len(form.domains) == 1:
        return _Local(*(part[0] for part in local))
    spread = np.zeros((*form.index.shape, form.size))
    np.put_along_axis(spread, form.index[..., None], 1.0, 2)
    return _Local(
        jnp.sum(local.value),
        jnp.einsum("gi,gip->p", local.gradient, spread),
        jnp.einsum("gij,gip,gjq->pq", local.matrix, spread, spread, optimize="optimal"),
        jnp.einsum("gi,gip->p", local.diagonal, spread),
    )


class _State(NamedTuple):
    step: jax.Array
    x: jax.Array
    damping: jax.Array
    level: jax.Array
    still: jax.Array


def _newton_step(local: _Local, x: jax.Array, low: jax.Array, high: jax.Array, damping: jax.Array) -> jax.Array:
    """Damped Newton step in a box: what a step pushes out is held at the bound, and the rest solved again."""
    diagonal = jnp.maximum(local.diagonal, _TINY)
    # The 1e-3 keeps steps short along ridges, where the majorizer itself is singular.
    matrix = local.matrix + jnp.diag(1e-3 * damping * diagonal)
    unit = 1.0 / jnp.sqrt(diagonal * (1.0 + damping))
    matrix, g = matrix * unit[:, None] * unit[None, :], local.gradient * unit
    lower, upper = (low - x) / unit, (high - x) / unit

    def solve(held: jax.Array, fixed: jax.Array) -> jax.Array:
        free = ~held
        inner = matrix * free[:, None] * free[None, :] + jnp.diag(jnp.where(free, 1e-14, 1.0))
        b = jnp.where(free, -g - matrix @ fixed, 0.0)
        return jnp.where(held, fixed, jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(inner), True), b))

    held = (lower >= 0) & (g >= 0) | (upper <= 0) & (g <= 0) | (low >= high)
    fixed = jnp.zeros_like(x)
    step = solve(held, fixed)
    for _ in range(2):
        out = (step < lower) | (step > upper)
        fixed = jnp.where(out, jnp.clip(step, lower, upper), fixed)
        held = held | out
        step = solve(held, fixed)
    return jnp.clip(x + step * unit, low, high)


def _refine(
    form: Form, kind: str, rows: Rows, y: Any, w: Any, x: Any, low: Any, high: Any, delta: Any, anneal: Any,
    steps: Any,
) -> jax.Array:
    gathered = jax.vmap(lambda y, w, x, d, damping: _gathered(form, kind, rows, y, w, x, d, damping))
    values = jax.vmap(lambda y, w, x, d: value(form, kind, rows, y, w, x, d))

    def body(state: _State) -> _State:
        now = delta * jnp.maximum(1.0, anneal * 0.5**state.level)
        local = gathered(y, w, state.x, now, state.damping)
        trial = jax.vmap(_newton_step)(local, state.x, low, high, state.damping)
        before, after = local.value, values(y, w, trial, now)
        better = after < before  # False for NaN: a failed factorisation is a rejected step
        gain = jnp.where(better, (before - after) / jnp.maximum(before, _TINY), 0.0)
        slow = jnp.where(better, gain < _SLOW, state.damping > 1e3)
        settled = (now <= delta) & jnp.where(better, gain < 1e-11, state.damping > 1e8)
        return _State(
            state.step + 1,
            jnp.where(better[:, None], trial, state.x),
            jnp.clip(state.damping * jnp.where(better, 0.2, 6.0), 1e-9, 1e12),
            state.level + slow,
            jnp.where(settled, state.still + 1, jnp.where(better, 0, state.still)),
        )

    def going(state: _State) -> jax.Array:
        return (state.step < steps) & jnp.any(state.still < 3)

    lanes = x.shape[0]
    zeros = jnp.zeros(lanes, jnp.int32)
    end = jax.lax.while_loop(going, body, _State(jnp.zeros((), jnp.int32), x, jnp.ones(lanes), zeros, zeros))
    return end.x


def _screen(
    form: Form, kind: str, rows: Rows, y: Any, w: Any, thetas: Any, delta: Any
) -> tuple[jax.Array, jax.Array]:
    square = w / (y * y) if kind == "huber" else w  # relative residuals stand in for logarithmic ones

    def domain(theta: jax.Array, rows: Rows, y: jax.Array, w: jax.Array, square: jax.Array) -> Any:
        columns = _columns(form, theta, rows)
        weighted = columns * square[:, None]
        c = _nnls(weighted.T @ columns, weighted.T @ y)
        return jnp.sum(w * _rho(kind, _residual(kind, columns @ c, y), delta)), c

    def one(theta: jax.Array) -> Any:
        values, c = jax.vmap(domain)(theta, rows, y, w, square)
        return jnp.sum(values), c

    return jax.vmap(one)(thetas)


def _nnls(gram: jax.Array, moment: jax.Array) -> jax.Array:
    """Exact non-negative least squares of a few columns: the best of all supports whose solution is feasible."""
    J = len(moment)
    unit = 1.0 / jnp.sqrt(jnp.maximum(jnp.diagonal(gram), _TINY))
    gram, moment = gram * unit[:, None] * unit[None, :], moment * unit
    supports = jnp.asarray([support for support in product((0.0, 1.0), repeat=J) if any(support)])

    def solve(support: jax.Array) -> tuple[jax.Array, jax.Array]:
        masked = gram * support[:, None] * support[None, :] + jnp.diag(1.0 - support + 1e-12)
        c = _solve_spd(masked, moment * support) * support
        explained = jnp.where(jnp.all(c >= 0), c @ moment, -jnp.inf)
        return explained, c

    explained, c = jax.vmap(solve)(supports)
    best = jnp.argmax(explained)
    return jnp.where(explained[best] > 0, c[best], 0.0) * unit


def _solve_spd(matrix: jax.Array, b: jax.Array) -> jax.Array:
    """Gauss-Jordan without pivots: of a few unknowns, it compiles in a tenth of a library call's time."""
    augmented = jnp.concatenate([matrix, b[:, None]], 1)
    for j in range(len(b)):
        row = augmented[j] / augmented[j, j]
        augmented = (augmented - augmented[:, j][:, None] * row).at[j].set(row)
    return augmented[:, -1]
