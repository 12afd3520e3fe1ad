"""Units of a fit: points in parameters and tokens → coordinates in which every parameter is of order one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..tables.table import Table
from .families import LOG_ZERO, Rows


@dataclass(frozen=True)
class Reference:
    """Units of a fit: logs of the geometric means of N and of tokens. In them every parameter is of order one.

    D and D' share one unit, because some laws add them.
    """

    n: float
    t: float

    @staticmethod
    def of(table: Table) -> Reference:
        tokens = np.concatenate([table.d_pretrain, table.d_special])
        return Reference(_mean_log(table.n_params), _mean_log(tokens))

    def rows(
        self, n: np.ndarray, d: np.ndarray, s: np.ndarray, u_d: np.ndarray | None = None, u_s: np.ndarray | None = None
    ) -> Rows:
        """Coordinates of points given in parameters and tokens."""
        n, d, s = np.broadcast_arrays(*(np.asarray(part, float) for part in (n, d, s)))
        return Rows(
            np.log(n) - self.n, _log(d) - self.t, _log(s) - self.t,
            np.zeros_like(d) if u_d is None else repeats(d, u_d),
            np.zeros_like(s) if u_s is None else repeats(s, u_s),
        )


def _mean_log(values: np.ndarray) -> float:
    positive = values[values > 0]
    return float(np.log(positive).mean()) if len(positive) else 0.0


def _log(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, np.log(np.where(values > 0, values, 1.0)), LOG_ZERO)


def repeats(tokens: np.ndarray, unique: np.ndarray) -> np.ndarray:
    """Epochs beyond the first."""
    unique = np.broadcast_to(np.asarray(unique, float), tokens.shape)
    return np.where(unique > 0, np.maximum(tokens / np.where(unique > 0, unique, 1.0) - 1.0, 0.0), 0.0)
