"""The batched fit: every start, held-out fit and bootstrap draw is a lane, in float64 and on the host alone.

`screen` scores many nonlinear parameter vectors with the linear ones projected out (variable projection, non-negative
least squares, reweighted so that one wild row does not decide). `refine` descends from a start: projected Newton steps,
damped towards iteratively reweighted least squares. The damping matrix is the Huber loss's quadratic majorizer, so far
from the optimum a step is a robust Gauss-Newton step and close to it an exact Newton step, which is what makes a loss
that is nearly L1 converge to the last digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg.lapack import dposv

from . import jets
from .families import Rows
from .form import Form

CELLS = 16384
"""Rows times lanes that are worked on at once: what fits a core's cache."""
_SLOW = 1e-2
"""Relative gain of a step below which the annealed Huber threshold is halved."""
_TRIES = 3
"""Steps tried from the same derivatives, each damped more than the last."""
_TINY = 1e-300
_ROBUST, _WIDE = 3, 32.0
"""Times that the linear parameters of a screened candidate are solved for, rows that are off by more than WIDE times
Huber's threshold weighed down from the second time on."""


class Loss(NamedTuple):
    """What is summed over rows: Huber(delta) of log residuals, or squares of plain residuals."""

    kind: str
    delta: float


class Data(NamedTuple):
    """Rows by domain, padded with weight 0: coordinates [G, n], losses and weights [lanes, G, n]."""

    rows: Rows
    y: Any
    w: Any

    def lanes(self, at: Any) -> Data:
        return Data(self.rows, self.y[at], self.w[at])


def objective(form: Form, loss: Loss, data: Data, x: np.ndarray) -> np.ndarray:
    """Objective of each lane's x, [lanes]."""
    return np.concatenate([_value(form, loss.kind, data.lanes(at), x[at], np.full(len(x[at]), loss.delta))
                           for at in _chunks(data, len(x))])


def _chunks(data: Data, lanes: int) -> Iterator[slice]:
    size = max(4, CELLS // data.rows.n.size)
    for start in range(0, lanes, size):
        yield slice(start, start + size)


def _theta(form: Form, x: np.ndarray) -> list[np.ndarray]:
    """Nonlinear parameters, [lanes, G, 1] each, from x [lanes, size]."""
    local = x[:, form.index[:, form.n_linear :]]
    return [local[..., i, None] for i in range(local.shape[-1])]


def _residual(kind: str, f: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(f, _TINY) / y) if kind == "huber" else f - y


def _rho(kind: str, r: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """`delta` is [lanes]."""
    if kind != "huber":
        return 0.5 * r * r
    size, delta = np.abs(r), delta[:, None, None]
    least = np.minimum(size, delta)
    return least * (size - 0.5 * least)


def _value(form: Form, kind: str, data: Data, x: np.ndarray, delta: np.ndarray) -> np.ndarray:
    c = x[:, form.index[:, : form.n_linear]]
    with np.errstate(all="ignore"):
        columns = form.columns(np, _theta(form, x), data.rows)
        f: Any = sum(c[..., j, None] * column for j, column in enumerate(columns))
        return np.asarray((data.w * _rho(kind, _residual(kind, f, data.y), delta)).sum((1, 2)))


class _Local(NamedTuple):
    """What a step needs, [lanes, ...]: the exact Hessian, the majorizer's, and the gradient."""

    value: np.ndarray
    gradient: np.ndarray
    exact: np.ndarray
    major: np.ndarray


def _local(form: Form, kind: str, data: Data, x: np.ndarray, delta: np.ndarray) -> _Local:
    J, L = form.n_linear, len(form.names)
    c = x[:, form.index[:, :J]]
    shape = data.y.shape
    with np.errstate(all="ignore"):
        columns = [col if isinstance(col, jets.Jet) else jets.Jet(col, {}, {})
                   for col in form.columns(jets, jets.variables(_theta(form, x)), data.rows)]
        jacobian = np.zeros((*shape[:2], L, shape[2]))
        f: Any = jets.Jet(0.0, {}, {})
        for j, column in enumerate(columns):
            jacobian[:, :, j] = column.value
            f = f + c[..., j, None] * column
        for i, slope in f.first.items():
            jacobian[:, :, J + i] = slope
        value = np.maximum(f.value, _TINY)
        r = _residual(kind, value, data.y)
        if kind == "huber":
            stretch = 1.0 / value
            size, d = np.abs(r), delta[:, None, None]
            psi = np.clip(r, -d, d)
            second = (size <= d) - psi  # -psi: curvature of the logarithm
            bound = d / np.maximum(size, d)
        else:
            stretch, psi, second, bound = np.ones_like(r), r, np.ones_like(r), np.ones_like(r)
        jacobian *= stretch[:, :, None]
        gradient = (jacobian @ (data.w * psi)[..., None])[..., 0]
        turned = jacobian.swapaxes(2, 3)
        exact = (jacobian * (data.w * second)[:, :, None]) @ turned
        major = (jacobian * (data.w * bound)[:, :, None]) @ turned
        pull = data.w * psi * stretch
        for j, column in enumerate(columns):
            for i, slope in column.first.items():
                cross = (pull * slope).sum(-1)
                exact[:, :, j, J + i] += cross
                exact[:, :, J + i, j] += cross
        for (i, k), bend in f.second.items():
            bent = (pull * bend).sum(-1)
            exact[:, :, J + i, J + k] += bent
            if i != k:
                exact[:, :, J + k, J + i] += bent
        total = (data.w * _rho(kind, r, delta)).sum((1, 2))
    return _gathered(form, total, gradient, exact, major)


def _gathered(form: Form, value: np.ndarray, gradient: np.ndarray, exact: np.ndarray, major: np.ndarray) -> _Local:
    """The same in the unknowns of all domains."""
    if len(form.domains) == 1:
        return _Local(value, gradient[:, 0], exact[:, 0], major[:, 0])
    lanes = len(value)
    out = [np.zeros((lanes, form.size)), *(np.zeros((lanes, form.size, form.size)) for _ in range(2))]
    for g, at in enumerate(form.index):
        out[0][:, at] += gradient[:, g]
        for whole, part in zip(out[1:], (exact, major), strict=True):
            whole[:, at[:, None], at[None]] += part[:, g]
    return _Local(value, *out)


def _newton_step(local: _Local, x: np.ndarray, low: np.ndarray, high: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Damped Newton step in a box: what a step pushes out is held at the bound, and the rest solved again.

    NaN where the damped matrix is not positive definite.
    """
    diagonal = np.maximum(np.diagonal(local.major, axis1=1, axis2=2), _TINY)
    unit = 1.0 / np.sqrt(diagonal * (1.0 + damping[:, None]))
    matrix = local.exact + damping[:, None, None] * local.major
    # The 1e-3 keeps steps short along ridges, where the majorizer itself is singular.
    at = np.arange(x.shape[1])
    matrix[:, at, at] += 1e-3 * damping[:, None] * diagonal
    matrix *= unit[:, :, None] * unit[:, None, :]
    g = local.gradient * unit
    lower, upper = (low - x) / unit, (high - x) / unit
    held = ((lower >= 0) & (g >= 0)) | ((upper <= 0) & (g <= 0)) | (low >= high)
    fixed = np.zeros_like(x)
    step = _solve(matrix, g, held, fixed)
    for _ in range(2):
        out = (step < lower) | (step > upper)
        if not out.any():
            break
        fixed = np.where(out, np.clip(step, lower, upper), fixed)
        held = held | out
        step = _solve(matrix, g, held, fixed)
    return np.clip(x + step * unit, low, high)


def _solve(matrix: np.ndarray, g: np.ndarray, held: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Steps of the parameters that are free, the held ones as they are fixed; NaN where no step leads down."""
    free = ~held
    inner = matrix * free[:, :, None] * free[:, None, :]
    at = np.arange(matrix.shape[1])
    inner[:, at, at] += np.where(free, 1e-14, 1.0)
    b = np.where(free, -g - (matrix @ fixed[..., None])[..., 0], 0.0)
    step = np.full_like(b, np.nan)
    for lane in range(len(b)):  # a batched factorisation gives up on all lanes where one fails
        _, found, failed = dposv(inner[lane], b[lane], lower=1)
        if not failed:
            step[lane] = found
    return np.where(held, fixed, step)


def refine(
    form: Form, loss: Loss, data: Data, x: np.ndarray, low: np.ndarray, high: np.ndarray, *,
    anneal: float = 1.0, steps: int = 60, exact: float = 1e-11,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise from each start.

    Args:
        form: the laid-out family.
        loss: what is summed.
        data: `y` and `w` with one lane a start.
        x, low, high: starts and bounds [lanes, size]; equal bounds hold a parameter still.
        anneal: Huber's delta begins this many times larger and shrinks, to step over small local minima.
        steps: at most.
        exact: relative gain of a step below which, three times, a lane has settled.

    Returns:
        Minimisers [lanes, size] and objectives [lanes].
    """
    found = np.concatenate([
        _descend(form, loss, data.lanes(at), x[at], low[at], high[at], anneal, steps, exact)
        for at in _chunks(data, len(x))
    ])
    return found, objective(form, loss, data, found)


def _descend(
    form: Form, loss: Loss, data: Data, x: Any, low: Any, high: Any, anneal: float, steps: int, exact: float
) -> np.ndarray:
    """Lanes that have settled are set aside, so that the others do not wait for them."""
    out = np.array(x)
    lane: Any = np.arange(len(x))
    damping: Any = np.ones(len(x))
    level, still = np.zeros(len(x)), np.zeros(len(x), int)
    for _ in range(steps):
        now = loss.delta * np.maximum(1.0, anneal * 0.5**level)
        local = _local(form, loss.kind, data, x, now)
        trial, after, damping = _downwards(form, loss.kind, data, local, x, low, high, damping, now)
        better = after < local.value
        gain = np.where(better, (local.value - after) / np.maximum(local.value, _TINY), 0.0)
        slow = np.where(better, gain < _SLOW, damping > 1e3)
        settled = (now <= loss.delta) & np.where(better, gain < exact, damping > 1e8)
        x = trial
        level = level + slow
        still = np.where(settled, still + 1, np.where(better, 0, still))
        done = still >= 3
        if done.any():
            out[lane[done]] = x[done]
            keep = ~done
            if not keep.any():
                return out
            x, low, high, lane, damping, level, still = (
                part[keep] for part in (x, low, high, lane, damping, level, still)
            )
            data = data.lanes(keep)
    out[lane] = x
    return out


def _downwards(
    form: Form, kind: str, data: Data, local: _Local, x: np.ndarray, low: np.ndarray, high: np.ndarray,
    damping: np.ndarray, delta: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a step leads down, the value there, and the next damping; x itself where none of `_TRIES` does.

    A step that leads up or nowhere is damped more and tried again from the same derivatives, which are what costs.
    """
    out, value, damping = np.array(x), np.array(local.value), np.array(damping)
    at = np.arange(len(x))
    for _ in range(_TRIES):
        here = _Local(*(part[at] for part in local))
        trial = _newton_step(here, x[at], low[at], high[at], damping[at])
        after = _value(form, kind, data.lanes(at), trial, delta[at])
        better = after < here.value  # False for NaN: a failed factorisation is a rejected step
        out[at[better]], value[at[better]] = trial[better], after[better]
        damping[at] = np.clip(damping[at] * np.where(better, 0.2, 6.0), 1e-9, 1e12)
        at = at[~better]
        if not len(at):
            break
    return out, value, damping


def screen(form: Form, loss: Loss, data: Data, thetas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Objective and linear parameters at each of `thetas` [M, G, q] → ([M], [M, G, J]), for lane 0 of `data`."""
    size = max(16, 4 * CELLS // data.rows.n.size)
    parts = [_screen(form, loss, data, thetas[i : i + size]) for i in range(0, len(thetas), size)]
    return np.concatenate([score for score, _ in parts]), np.concatenate([c for _, c in parts])


def _screen(form: Form, loss: Loss, data: Data, thetas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, w = data.y[0], data.w[0]
    with np.errstate(all="ignore"):
        columns = form.columns(np, [thetas[..., i, None] for i in range(thetas.shape[-1])], data.rows)
        stacked = np.stack([np.broadcast_to(column, (len(thetas), *y.shape)) for column in columns], 2)  # [M, G, J, n]
        plain = np.broadcast_to(w / (y * y) if loss.kind == "huber" else w, (len(thetas), *y.shape))
        weight, wide = plain, _WIDE * loss.delta
        c = r = np.zeros(0)
        for again in range(_ROBUST if loss.kind == "huber" else 1):
            if again:
                weight = plain / np.maximum(np.abs(r), wide)
            gram = (stacked * weight[:, :, None]) @ stacked.swapaxes(2, 3)
            c = _nnls(gram, (stacked @ (weight * y)[..., None])[..., 0])
            r = _residual(loss.kind, (c[..., None, :] @ stacked)[..., 0, :], y)
        score = (w * _rho(loss.kind, r, np.full(len(thetas), loss.delta))).sum((1, 2))
    return score, c


def _nnls(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Exact non-negative least squares of a few columns: the best of all supports whose solution is feasible."""
    J = moment.shape[-1]
    unit = 1.0 / np.sqrt(np.maximum(np.diagonal(gram, axis1=-2, axis2=-1), _TINY))
    gram, moment = gram * unit[..., :, None] * unit[..., None, :], moment * unit
    best, explained = np.zeros_like(moment), np.zeros(moment.shape[:-1])
    for support in product((0.0, 1.0), repeat=J):
        on = np.array(support)
        if not on.any():
            continue
        masked = gram * on[:, None] * on[None] + np.diag(1.0 - on + 1e-12)
        c = np.linalg.solve(masked, (moment * on)[..., None])[..., 0] * on
        gain = np.where((c >= 0).all(-1), (c * moment).sum(-1), -np.inf)
        better = gain > explained
        explained = np.where(better, gain, explained)
        best = np.where(better[..., None], c, best)
    return best * unit
