"""What runs could not have shown: a misfit of the usual size, in the intervals of laws of a few runs.

A law of some sixteen runs goes through nearly all of them, right or wrong, and its redrawn residuals say that it is
sure. That the residuals tell of no misfit means something only where a misfit would have shown: where it would not, the
intervals allow for one as other tables show it (`USUAL`), known to vanish at the runs and open away from them. The
prediction itself stays what it is.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from ..tables.table import Table
from .correction import USUAL, Correction, Follow, Runs, coordinates, origin_of
from .process import Kernel, Process

_SHOWS = 4.0
"""Log likelihood that a usual misfit would gain over noise alone, on average, in runs that can show it: what a misfit
must gain to be told."""

_LEAST = 1e-6
"""Noise of runs that a law goes through."""


def allowance_of(
    table: Table, rows: np.ndarray, predicted: np.ndarray, follow: Follow, draws: int, seed: int = 0
) -> Correction | None:
    """A usual misfit given that none was seen; None where the runs would have shown it.

    Args:
        table, rows, predicted, follow, seed: as for `correction_of`.
        draws: how many the law has.
    """
    runs = Runs.of_table(table, rows, seed)
    residual = runs.residuals(table.loss, predicted)
    followed = follow(runs)
    left = len(residual) - followed.shape[1]
    origin = origin_of(runs)
    at = coordinates(runs.n, runs.d, runs.s, origin)
    noise = max(float(np.sqrt(np.square(residual).sum() / max(left, 1))), _LEAST)
    if left > 0 and gain(USUAL.between(at, at), followed, noise) > _SHOWS:
        return None
    unseen = np.zeros((draws, len(residual)))
    return Correction(Process(Kernel(USUAL.parts, noise), at, unseen[0], unseen, seed), {}, origin)


def gain(misfit: np.ndarray, followed: np.ndarray, noise: float) -> float:
    """Log likelihood that residuals with a misfit gain over noise alone, on average, once a law has followed them.

    Args:
        misfit: covariance of a misfit at the runs, [runs, runs].
        followed: orthonormal directions along which the law follows whatever it is shown, [runs, directions]: nothing
            is seen there.
        noise: standard deviation of a run.
    """
    with threadpool_limits(1, "blas"):  # as for the likeliest kernel
        seen = np.linalg.qr(followed, mode="complete")[0][:, followed.shape[1] :].T
        variance = np.linalg.eigvalsh(seen @ misfit @ seen.T) + noise**2
    return float(0.5 * (len(variance) * np.log(variance.mean()) - np.log(variance).sum()))
