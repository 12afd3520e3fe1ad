"""What no family gets right: smooth stretches in which a law is off, told by its own rows.

A law's residuals are not all noise. Neighbouring cells are off the same way, by a per cent or two, because the form is
not the truth. So log L = log law + m + noise, m the sum of two Gaussian processes: one over (log N, log (D + D')), by
which the law is off in all splits of a budget alike, and one over (log N, log D, log D'). It is the discrepancy of
Kennedy and O'Hagan (2001, Bayesian calibration of computer models, JRSS B 63). What the rows say of m corrects the law
near them (kriging) and fades away from them; what they leave open of m widens its intervals.

Runs are the observations: the mean over the domains of a run has less noise than each of them, and it is what a split
is chosen by. What a domain has alone, beyond what all domains of a run share, is a process of its own over the same
lengths: it corrects and widens what is said of that domain, and cancels in the mean over all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tables.table import Table, clusters
from .process import Kernel, Part, Process, likeliest, precision, prior_draws, resized

_TOLD = 1e-6
"""Directions of a family's parameters that move a table's rows by less than so much of the most are no directions."""
_MOST = 400
"""Runs used at most: the cost grows with their cube."""


@dataclass(frozen=True, eq=False)
class Correction:
    """How far a law is off, beyond noise, as a function of N, D and D'.

    Attributes:
        common: what all domains of a run share.
        own: domain → what it has beyond that; empty where that is noise.
        origin: tokens added to D and D' before the log: below, more tokens make no difference.
    """

    common: Process
    own: Mapping[str, Process]
    origin: float

    @property
    def scale(self) -> float:
        """Standard deviation of the misfit, in log loss."""
        return self.common.kernel.scale

    @property
    def kernel(self) -> Kernel:
        return self.common.kernel

    def to_json(self) -> dict[str, Any]:
        """How far the law is off, in level and in shape, and over which distances in log N and in log tokens."""
        level, shape = self.kernel.parts
        return {"level": level.scale, "shape": shape.scale, "noise": self.kernel.noise,
                "length_n": level.lengths[0], "length_tokens": level.lengths[LEVEL[1]]}

    def at(self, n: Any, d: Any, s: Any, *, draws: bool = False, domain: str | None = None) -> np.ndarray:
        """Log of the factor that a prediction is off by, [points], or [draws, points]: the part that all domains share.

        Of a `domain`: the part that it has beyond that.
        """
        process = self.common if domain is None else self.own.get(domain)
        if process is None:
            return np.zeros(1)
        points = coordinates(n, d, s, self.origin)
        return process.draws(points) if draws else process.given(points)


def coordinates(n: Any, d: Any, s: Any, origin: float) -> np.ndarray:
    """Logs of N, D, D' and D + D', the coordinates of a misfit, [..., 4]."""
    n, d, s = np.broadcast_arrays(*(np.asarray(part, float) for part in (n, d, s)))
    return np.stack([np.log(n), np.log(d + origin), np.log(s + origin), np.log(d + s + origin)], -1)


LEVEL, SHAPE = [0, 3], [0, 1, 2]
"""Coordinates of the two processes that a misfit is made of: how far a law is off in all splits of a budget alike, and
how far it is off in one split more than in another."""


USUAL = Kernel((Part(0.012, {0: 2.0, 3: 1.5}), Part(0.005, {0: 2.0, 1: 1.5, 2: 1.5})), 0.0)
"""A misfit such as the tables of docs/study show, in level and in shape: for what is asked before anything was run."""


def usual_misfit(draws: int, seed: int, origin: float) -> Callable[[Any, Any, Any], np.ndarray]:
    """Draws of a usual misfit, in log loss: functions of N, D and D' [points] or [draws, points] → [draws, points]."""
    process = prior_draws(USUAL, draws, seed)
    return lambda n, d, s: process(coordinates(n, d, s, origin))


Follow = Callable[["Runs"], np.ndarray]
"""Runs → the directions of their means that a law follows, [runs, directions]."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Means over the domains of each run.

    Attributes:
        n, d, s: of the run, [runs].
        of: rows → runs, the matrix that takes means, [runs, rows].
    """

    n: np.ndarray
    d: np.ndarray
    s: np.ndarray
    of: np.ndarray

    @staticmethod
    def of_table(table: Table, rows: np.ndarray, seed: int = 0) -> Runs:
        """Of the given rows (a mask) alone; a run that has none is left out. Of many runs some, drawn by the seed."""
        unit = clusters(table)
        names, first = np.unique(unit[rows], return_index=True)
        some = np.sort(np.random.default_rng(seed).permutation(len(names))[:_MOST])
        names, first = names[some], np.flatnonzero(rows)[first[some]]
        of = (unit[None, :] == names[:, None]) & rows
        return Runs(table.n_params[first], table.d_pretrain[first], table.d_special[first],
                    of / of.sum(1, keepdims=True))

    def residuals(self, loss: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Log of the measured mean over the predicted one, [runs], from rows; predictions [draws, rows] too."""
        known = np.where(self.of.any(0), predicted, 0.0)
        return np.log((self.of @ loss) / (known @ self.of.T))

    def followed(self, slopes: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
        """Directions of run means that a law follows whatever they are, orthonormal, [runs, directions].

        Args:
            slopes: d log loss / d parameters of each family at the rows, [rows, parameters].
            weights: of each family.
        """
        seen = self.of.any(0)
        mean, spread = self.of[:, seen], (self.of[:, seen] > 0).astype(float).T
        hat = np.zeros((len(self.n), len(self.n)))
        for each, weight in zip((part[seen] for part in slopes), weights, strict=True):
            basis, size, _ = np.linalg.svd(each / np.maximum(np.linalg.norm(each, axis=0), 1e-300), full_matrices=False)
            basis = basis[:, size > _TOLD * size[0]]
            hat += weight * (mean @ basis) @ (basis.T @ spread)
        share, directions = np.linalg.eigh(0.5 * (hat + hat.T))
        return directions[:, share >= 0.5]


def origin_of(runs: Runs) -> float:
    """The least tokens of any kind that a run saw: below, more make no difference."""
    positive = np.concatenate([runs.d[runs.d > 0], runs.s[runs.s > 0]])
    return float(positive.min()) if len(positive) else 1.0


def correction_of(
    table: Table, rows: np.ndarray, predicted: np.ndarray, drawn: np.ndarray | None = None, *,
    follow: Follow | None = None, like: Correction | None = None, seed: int = 0,
) -> Correction | None:
    """The correction of a law by its residuals.

    Args:
        table: rows that were fitted.
        rows: those that tell something: predicted, and not standing out.
        predicted: what the law says of each.
        drawn: what its draws say, [draws, rows].
        follow: what directions of run means it has followed.
        like: a correction whose kernel is taken over.
        seed: of draws, and of which runs of a large table are used.

    Returns:
        None where noise alone explains the residuals as well, or where there are too few to tell.
    """
    if rows.sum() < 8:
        return None
    runs = Runs.of_table(table, rows, seed)
    residual = runs.residuals(table.loss, predicted)
    origin = like.origin if like else origin_of(runs)
    at = coordinates(runs.n, runs.d, runs.s, origin)
    kernel = like.kernel if like else likeliest(at, residual, LEVEL, SHAPE, follow(runs) if follow else None)
    if kernel is None:
        return None
    left = None if drawn is None else runs.residuals(table.loss, drawn)
    own = {} if like else _own(table, runs, predicted, drawn, Process(kernel, at, residual, left, seed))
    return Correction(Process(kernel, at, residual, left, seed), own, origin)


def pulled(
    misfit: Correction, table: Table, fitted: np.ndarray, runs: Runs, followed: np.ndarray, draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """By how much a fit would be pulled, had misfit and noise of runs fallen otherwise, in log loss: [draws, fitted].

    Both are drawn, and what their own run means would tell of the misfit is taken off: a least squares fit to the rest
    is the generalised one, which knows that neighbouring runs are off alike.
    """
    kernel, unit = misfit.kernel, np.unique(clusters(table)[fitted], return_inverse=True)[1]
    at = coordinates(table.n_params[fitted], table.d_pretrain[fitted], table.d_special[fitted], misfit.origin)
    fallen = prior_draws(kernel, draws, int(rng.integers(2**31)))(at)
    fallen += kernel.noise * rng.normal(size=(draws, unit.max() + 1))[:, unit]
    where = misfit.common.at
    noise = kernel.noise**2 + 1e-8 * kernel.scale**2
    inverse, _ = precision(kernel.between(where, where) + noise * np.eye(len(where)), followed)
    return fallen - fallen @ runs.of[:, fitted].T @ inverse @ kernel.between(where, at)


def _own(
    table: Table, runs: Runs, predicted: np.ndarray, drawn: np.ndarray | None, common: Process
) -> dict[str, Process]:
    """What each domain is off by beyond the others, over the same lengths; {} where that is noise."""
    rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for domain in table.domains if len(table.domains) > 1 else ():
        mine = (runs.of > 0) & (table.domain == domain)
        rows[domain] = np.flatnonzero(mine.sum(1) == 1), np.argmax(mine, 1)
    beyond = {}
    for domain, (run, row) in rows.items():
        told = [np.log(table.loss[row[run]] / each[..., row[run]]) - shared[..., run] for each, shared in
                ((predicted, common.values), *(() if drawn is None else ((drawn, common.drawn),)))]
        beyond[domain] = run, told[0], told[1] if drawn is not None else None
    kernel = resized(common.kernel, [(common.at[run], values) for run, values, _ in beyond.values()])
    if kernel is None:
        return {}
    return {domain: Process(kernel, common.at[run], values, left, common.seed + 1 + i)
            for i, (domain, (run, values, left)) in enumerate(beyond.items())}
