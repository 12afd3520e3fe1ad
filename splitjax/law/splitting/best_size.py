"""N under a budget of training FLOPs, whatever is bought with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from splitjax.config import UserError

from ..fitting.fitted import percentiles
from ..tables.table import Table
from .limits import EXTRAPOLATION

_SIZES = 49


def best_size(
    table: Table, work: float, least: Callable[[float, bool], np.ndarray], extrapolate: bool
) -> tuple[float, tuple[float, float]]:
    """N with the least loss where N·T = work, and its 90 % interval over the draws.

    Args:
        table: the rows that the law was fitted to.
        work: parameters times tokens.
        least: the loss at an N, [1], or in each draw, [draws].
        extrapolate: look over 30 times outside the fitted range.

    Raises:
        UserError: no N within reach of the law spends so much.
    """
    if not 0 < work < np.inf:
        raise UserError("FLOPs must be positive", where="compute")
    reach = low, high = _reach(table, work, np.inf if extrapolate else EXTRAPOLATION)
    for _ in range(3):
        sizes = np.geomspace(low, high, _SIZES)
        best = int(np.argmin([least(float(n), False)[0] for n in sizes]))
        low, high = sizes[max(best - 1, 0)], sizes[min(best + 1, _SIZES - 1)]
    chosen = float(sizes[best])
    sizes = np.geomspace(*reach, _SIZES)
    low, high = percentiles(_lowest(np.log(sizes), np.stack([least(float(n), True) for n in sizes])))
    return chosen, (min(float(np.exp(low)), chosen), max(float(np.exp(high)), chosen))


def _lowest(at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where each column of `values` [points, draws] is least: between the evenly spaced points `at` by a parabola, at
    the least point itself where no parabola has a least there."""
    least = np.argmin(values, 0)
    middle = np.clip(least, 1, len(at) - 2)
    left, here, right = (np.take_along_axis(values, (middle + step)[None], 0)[0] for step in (-1, 0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        parabola = (left - right) / (left - 2 * here + right) / 2
        shift = np.where(left + right > 2 * here, parabola, least - middle)
    return at[middle] + np.clip(shift, -1.0, 1.0) * (at[1] - at[0])


def _reach(table: Table, work: float, times: float) -> tuple[float, float]:
    """N from which the law may speak, where N·T = work: bounds on N, and on T through it."""
    tokens = table.d_pretrain + table.d_special
    (n_low, n_high), (t_low, t_high) = ((float(x[x > 0].min()), float(x.max())) for x in (table.n_params, tokens))
    reach = min(times, 1e4)
    low, high = max(n_low / reach, work / (t_high * reach)), min(n_high * reach, work * reach / t_low)
    if len(np.unique(table.n_params)) < 3:  # no extrapolation in N
        low, high = max(low, n_low), min(high, n_high)
    if low > high * (1 + 1e-9):
        raise UserError("no N within 30 times of the fitted range spends so much", where="compute",
                        mend="Add larger runs, or pass --extrapolate to plan anyway.")
    return low * (1 + 1e-12), high * (1 - 1e-12)
