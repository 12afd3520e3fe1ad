"""Families on their way to a law: each fitted, tried on larger runs that were held out, and drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..tables.table import NAMES, Table
from . import selection
from .bootstrap import bootstrap, in_stretches, redrawn
from .combined import Combined, apart, mean_of
from .correction import Correction, correction_of
from .engine import Found, Problem
from .families import Family
from .fitted import Fitted
from .identify import ridge
from .solver import Loss

DELTA = 1e-3
STARTS = 48
HELDOUT_STARTS = 16


@dataclass(frozen=True)
class Candidate:
    """A family on its way: solution, what it says of all rows, also by each held-out fit, and draws."""

    problem: Problem
    found: Found
    predicted: np.ndarray
    heldout: dict[str, np.ndarray]
    draws: tuple[np.ndarray, ...] = ()

    @property
    def family(self) -> Family:
        return self.problem.family


class Bench:
    """What all families of a fit have in common: the table, its cuts, and how they are fitted."""

    def __init__(
        self, table: Table, families: Sequence[Family], seed: int, kind: str, delta: float, joint: bool, bootstrap: int
    ) -> None:
        self.table, self.seed, self.joint, self.bootstrap = table, seed, joint, bootstrap
        self.loss = Loss(kind, delta)
        told = np.all([family.finite(table.d_pretrain, table.d_special) for family in families], 0)
        self.cuts = selection.cuts(table, seed, told)

    def _rng(self, family: Family, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, *family.name.encode()])

    def candidate(self, family: Family) -> Candidate:
        """Fitted to the whole table, and to what is left of it by each cut."""
        problem = Problem(self.table, family, joint=self.joint)
        found = problem.search(self.loss, self.table.weight[None], STARTS, self._rng(family, 0))[0]
        weights = np.stack([np.where(test, 0.0, self.table.weight) for test in self.cuts.values()])
        held = problem.search(self.loss, weights, HELDOUT_STARTS, self._rng(family, 1), found)
        predicted = {
            axis: problem.predict([x[None] for x in fold.xs])[0] for axis, fold in zip(self.cuts, held, strict=True)
        }
        return Candidate(problem, found, problem.predict([x[None] for x in found.xs])[0], predicted)

    def noise(self, members: Sequence[Candidate], weights: Sequence[float]) -> np.ndarray:
        """How the noise might have fallen, [draws, rows]: on all families alike, so that draws combine one by one.

        What the law gets wrong in stretches might have fallen otherwise too, and pulls a fit further than noise does.
        """
        fitted = np.all([each.problem.usable for each in members], 0) & (self.table.weight > 0)
        spent = round(sum(w * each.problem.n_free for each, w in zip(members, weights, strict=True)))
        predicted = mean_of([each.predicted for each in members], weights)
        rng = np.random.default_rng([self.seed, 2])
        noise = redrawn(self.table, predicted, fitted, self.loss, spent, self.bootstrap, rng)
        law = Combined(tuple(self.fitted(each, None) for each in members), tuple(weights), self.table)
        pull = law.pulled(self.bootstrap, rng)
        return noise if pull is None else in_stretches(self.table, fitted, noise, pull)

    def with_draws(self, candidate: Candidate, noise: np.ndarray) -> Candidate:
        """The family fitted again to each draw of the noise."""
        draws = bootstrap(candidate.problem, self.loss, candidate.found.xs, self.table.weight, noise)
        return replace(candidate, draws=tuple(draws))

    def usual(self, tried: Sequence[Candidate]) -> np.ndarray:
        """Rows that do not stand out from every family: a mask."""
        return ~np.all([apart(self.table, each.predicted) for each in tried], 0)

    def weights(self, members: Sequence[Candidate]) -> np.ndarray:
        """What each family counts in the combined law, by the error of run means on held-out runs."""
        rows, cuts = self._compared(members)
        return selection.weights([float(selection.run_errors(self.table, cuts, each.heldout, rows).mean())
                                  for each in members])

    def scores(self, tried: Sequence[Candidate]) -> tuple[list[selection.Score], list[str]]:
        """Errors of each family on the held-out rows that all can predict, and a note on which these were."""
        rows, cuts = self._compared(tried)
        found = [selection.score(self.table, cuts, each.heldout, rows) for each in tried]
        every = f" that all {len(tried)} families predict" if len(tried) > 1 else ""
        told = ", ".join(NAMES.get(axis, axis) for axis in cuts)
        largest = "the largest " if set(cuts) <= NAMES.keys() else ""
        return found, [f"Held out: {largest}{told}; {found[0].n} rows{every}."]

    def whole(
        self, members: Sequence[Candidate], weights: Sequence[float], correction: Correction | None
    ) -> tuple[selection.Score, bool]:
        """Errors of the combined law, in each cut corrected by the rows left, and whether the mean does worse."""
        rows, cuts = self._compared(members)
        told = {axis: self._held(members, weights, correction, axis, rows) for axis in cuts}
        score = selection.score(self.table, cuts, told, rows)
        seen = [test & rows for test in cuts.values()]
        error = np.concatenate([np.abs(told[axis][at] / self.table.loss[at] - 1.0)
                                for axis, at in zip(cuts, seen, strict=True)])
        unit = selection.clusters(self.table)
        gain = selection.mean_errors(self.table, cuts, rows) - error
        return score, bool(gain.mean() > selection.clustered_se(gain, np.concatenate([unit[at] for at in seen])))

    def _held(
        self, members: Sequence[Candidate], weights: Sequence[float], correction: Correction | None, axis: str,
        rows: np.ndarray,
    ) -> np.ndarray:
        """What the combined law says of every row without those of a cut."""
        told = mean_of([each.heldout[axis] for each in members], weights)
        if correction is None:
            return told
        left = rows & ~self.cuts[axis] & (self.table.weight > 0)
        part = correction_of(self.table, left, told, like=correction)
        t = self.table
        return told if part is None else told * np.exp(part.at(t.n_params, t.d_pretrain, t.d_special))

    def _compared(self, tried: Sequence[Candidate]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Rows that all of these predict, without those that stand out, and the cuts that hold out some of them.

        Where only rows that stand out were held out, these too.
        """
        told = np.all([each.problem.usable for each in tried], 0)
        usual = told & self.usual(tried)
        rows = usual if any((test & usual).any() for test in self.cuts.values()) else told
        return rows, {axis: test for axis, test in self.cuts.items() if (test & rows).any()}

    def fitted(self, candidate: Candidate, score: selection.Score | None) -> Fitted:
        """What is kept of a family."""
        problem, found, y = candidate.problem, candidate.found, self.table.loss
        predicted = candidate.predicted
        at = problem.usable & (self.table.weight > 0)
        residual = np.log(predicted[at] / y[at])
        size = np.abs(residual)
        huber = np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA))
        flat, bound = _flaws(candidate)
        return Fitted(
            forms=tuple(problem.forms), reference=problem.reference, xs=tuple(found.xs), n=int(at.sum()),
            objective=float((self.table.weight[at] * huber).sum()),
            mre=float(np.abs(predicted[at] / y[at] - 1).mean()), r2=selection.explained(y[at], predicted[at]),
            agree=found.agree, starts=found.starts, ridge=tuple(flat), at_bound=tuple(bound),
            heldout=score, draws=candidate.draws,
        )


def _flaws(candidate: Candidate) -> tuple[list[str], list[str]]:
    """Parameters left open by the data, and parameters at a bound."""
    flat: list[str] = []
    bound: list[str] = []
    for part, x in zip(candidate.problem.parts, candidate.found.xs, strict=True):
        form = part.form
        low, high = form.bounds
        held = low == high
        edge = ((x <= low) | (x >= high)) & ~held
        names = _names(form)
        flat += ridge(names, candidate.problem.sensitivity(part, x), ~edge & ~held)
        bound += [names[i] for i in np.flatnonzero(edge)]
    return list(dict.fromkeys(flat)), list(dict.fromkeys(bound))


def _names(form: Any) -> list[str]:
    """A name for every entry of x; those of one domain carry it."""
    names = [""] * form.size
    for g, domain in enumerate(form.domains):
        for local, at in enumerate(form.index[g]):
            own = form._is_own(local) and domain
            names[at] = f"{form.names[local]}[{domain}]" if own else form.names[local]
    return names
