"""Residual bootstrap: what the fit would have been, had the noise fallen otherwise."""

from __future__ import annotations

import numpy as np

from ..tables.table import Table, clusters
from .engine import Problem
from .solver import Loss


def redrawn(
    table: Table, predicted: np.ndarray, fitted: np.ndarray, loss: Loss, spent: int, draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Noise in log loss as it might have fallen, [draws, rows]: residuals of a law, redrawn.

    Residuals are those of the log loss, widened by sqrt(n / (n - p)) for the p parameters spent on the fit. Rows of
    one `run` receive the residuals of one run; without that column every row draws alone, inside its own domain.
    Where the Huber threshold is far below the noise the fit passes through about p rows, as a least-absolute-deviation
    fit does: their residuals of zero say nothing of the noise, so others stand in for them, and the rest is smoothed
    by a normal kernel of Silverman's width that leaves their variance alone. Without it, intervals are too narrow.

    Args:
        table: the rows.
        predicted: what the law says of each.
        fitted: rows that it was fitted to: a mask.
        loss: what was minimised.
        spent: parameters of the law.
        draws: how many.
        rng: of the draws.
    """
    n = int(fitted.sum())
    spent = min(spent, n - 1)
    scale = np.sqrt(np.where(fitted, table.weight, 1.0))
    residual = scale * np.where(fitted, np.log(table.loss / np.where(fitted, predicted, 1.0)), 0.0)
    through = _passed_through(residual, fitted, loss, spent)
    donors = _replaced(_donors(table, fitted, draws, rng), table, fitted, through, rng)
    noise = residual[donors]
    if through.any():
        told = residual[fitted & ~through]
        width = 1.06 * min(told.std(), 1.4826 * float(np.median(np.abs(told)))) * n**-0.2
        noise = (noise + width * rng.normal(size=noise.shape)) / np.hypot(1.0, width / told.std())
    return np.sqrt(n / (n - spent)) * noise / scale


def in_stretches(table: Table, fitted: np.ndarray, noise: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """The same noise of single rows, [draws, rows], but what the rows of a run share is `pull` [draws, fitted]."""
    run = np.unique(clusters(table)[fitted], return_inverse=True)[1]
    of = (np.arange(run.max() + 1)[:, None] == run) / np.bincount(run)[:, None]
    out = np.array(noise)
    out[:, fitted] += pull - (noise[:, fitted] @ of.T)[:, run]
    return out


def bootstrap(
    problem: Problem, loss: Loss, xs: list[np.ndarray], weights: np.ndarray, noise: np.ndarray
) -> list[np.ndarray]:
    """What the fit would have been, had the noise [draws, rows] fallen on what it says.

    Returns:
        One array [draws, size] a part.
    """
    predicted = problem.predict([x[None] for x in xs])[0]
    y = np.where(problem.usable & (weights > 0), predicted, 1.0) * np.exp(noise)
    return problem.refit(loss, xs, y, np.broadcast_to(weights, y.shape))


def _passed_through(residual: np.ndarray, fitted: np.ndarray, loss: Loss, spent: int) -> np.ndarray:
    """Rows that the fit passes through because it can, not because their noise is small."""
    size = np.where(fitted, np.abs(residual), np.inf)
    out = np.zeros(len(residual), bool)
    if loss.kind == "huber" and loss.delta < np.median(size[fitted]):
        out[np.argsort(size, kind="stable")[: min(spent, fitted.sum() // 2)]] = True
        out &= size <= loss.delta
    return out


def _replaced(
    donors: np.ndarray, table: Table, fitted: np.ndarray, through: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Donors that the fit passes through, replaced by other rows of the same domain."""
    for domain in table.domains:
        others = np.flatnonzero(fitted & ~through & (table.domain == domain))
        if len(others):
            empty = through[donors] & (table.domain[donors] == domain)
            donors[empty] = rng.choice(others, int(empty.sum()))
    return donors


def _donors(table: Table, fitted: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Row whose residual each row receives, [draws, rows]."""
    donors = np.tile(np.arange(len(table)), (draws, 1))
    if table.run is None:
        for domain in table.domains:
            at = np.flatnonzero(fitted & (table.domain == domain))
            donors[:, at] = rng.choice(at, (draws, len(at))) if len(at) else donors[:, at]
        return donors
    rows = _rows_of_runs(table, fitted)
    runs = list(rows)
    picks = rng.integers(len(runs), size=(draws, len(runs)))
    for r, name in enumerate(runs):
        for (domain, i), row in rows[name].items():
            candidates = np.array([_match(rows[other], domain, i) for other in runs])
            donors[:, row] = candidates[picks[:, r]]
    return donors


def _rows_of_runs(table: Table, fitted: np.ndarray) -> dict[str, dict[tuple[str, int], int]]:
    """run → (domain, how manieth of it in the run) → row."""
    rows: dict[str, dict[tuple[str, int], int]] = {}
    assert table.run is not None
    for row in np.flatnonzero(fitted):
        of_run = rows.setdefault(str(table.run[row]), {})
        domain = str(table.domain[row])
        of_run[domain, sum(d == domain for d, _ in of_run)] = int(row)
    return rows


def _match(rows: dict[tuple[str, int], int], domain: str, i: int) -> int:
    """The donor run's row of the same domain, else one of its others."""
    same = [row for (d, _), row in rows.items() if d == domain] or list(rows.values())
    return same[i % len(same)]
