"""Fits a CSV of C, N, D, loss with the `chinchilla` package from 432 starts; prints the parameters as JSON.

Run by tools/bench_law.py in an interpreter that has the package.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from chinchilla import Chinchilla


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(sys.argv[1], Path(folder) / "df.csv")
        found = Chinchilla(
            folder,
            param_grid={
                "E": np.linspace(1.0, 2.0, 3), "a": np.linspace(1.0, 10.0, 4), "b": np.linspace(1.0, 10.0, 4),
                "alpha": np.linspace(0.1, 0.7, 3), "beta": np.linspace(0.1, 0.7, 3),
            },
            loss_fn=_huber, log_level=40,
        )
        found.visualizer.optim = lambda *a, **k: None  # its plot is no part of a fit
        found.fit(parallel=True)
    names = ("E", "A", "B", "alpha", "beta")
    print(json.dumps({name: float(getattr(found, name)) for name in names}))


def _huber(y_true: np.ndarray, y_pred: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Huber(1e-3) of log residuals, the objective of the comparison."""
    size = np.abs(np.log(y_pred / y_true))
    return np.where(size <= 1e-3, 0.5 * size**2, 1e-3 * (size - 0.5e-3)).sum()


if __name__ == "__main__":
    main()
