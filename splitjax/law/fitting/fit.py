"""`fit`: families over a table, compared by held-out error, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from splitjax.config import UserError

from ..tables.expression import rows_where
from ..tables.table import Table
from . import selection
from .engine import Found, Problem
from .families import FAMILIES, Family, family_named
from .fitted import Fitted
from .identify import check_design, ridge
from .law_fit import LawFit

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what was just done."""

DELTA = 1e-3
STARTS = 32
HELDOUT_STARTS = 8
WORKERS = 2  # XLA compiles outside the interpreter lock; more threads than that only share the cores


def fit(
    table: Table,
    family: str | Sequence[str] = "auto",
    loss: Literal["huber", "squared"] = "huber",
    holdout: str | None = None,
    bootstrap: int = 200,
    seed: int = 0,
    *,
    delta: float = DELTA,
    domains: Literal["joint", "separate"] = "joint",
    progress: Progress | None = None,
) -> LawFit:
    """Fit L(N, D, D') and say how sure.

    Args:
        table: observations; with several domains each has its own linear parameters and scales.
        family: a name, several, or "auto" for all that apply to the table.
        loss: "huber": Huber(delta) on log residuals; "squared": squared residuals.
        holdout: rows kept out of everything and scored at the end, as a comparison ("d_pretrain > 64000").
        bootstrap: draws behind the intervals; 0 for none.
        seed: of starts and draws.
        delta: Huber's threshold, in log loss.
        domains: "joint" shares exponents between domains; "separate" shares nothing.
        progress: told of each finished step.

    Raises:
        UserError: the design cannot tell effects apart, too few rows, no such family or option.
    """
    _check_options(loss, domains, bootstrap, delta)
    kept = _kept(table, holdout)
    train = table.select(kept)
    check_design(train)
    families, notes = _families(train, family)
    run = _Run(train, seed, loss, delta, domains == "joint", bootstrap)
    total = len(families) + 1
    count = _Counter(progress, total)
    with ThreadPoolExecutor(WORKERS) as pool:
        tried = list(pool.map(lambda f: count(run.candidate(f), f"fitted {f.name}"), families))
        order, near, beats, told = run.compare(tried)
        wanted = {*near, *_corner_speakers(tried, order)}
        drawn = list(pool.map(lambda i: run.with_draws(tried[i]) if i in wanted else tried[i], order))
    count(None, "bootstrap")
    fitted = [run.fitted(candidate) for candidate in drawn]
    if holdout is not None:
        fitted = [replace(f, holdout=_score_kept_out(f, table, kept)) for f in fitted]
    settings = {"loss": loss, "delta": delta, "bootstrap": bootstrap, "seed": seed, "holdout": holdout,
                "domains": domains}  # fmt: skip
    notes += told + _notes(train, fitted[0], bootstrap)
    names = tuple(tried[i].problem.family.name for i in near)
    return LawFit(tuple(fitted), names, train, settings, beats, tuple(notes))


def _check_options(loss: str, domains: str, bootstrap: int, delta: float) -> None:
    if loss not in ("huber", "squared"):
        raise UserError(f"no loss '{loss}'", where="loss", mend="Known: huber, squared.")
    if domains not in ("joint", "separate"):
        raise UserError(f"no way '{domains}' to treat domains", where="domains", mend="Known: joint, separate.")
    if bootstrap < 0:
        raise UserError(f"{bootstrap} draws", where="bootstrap", mend="Give 0 for none, 200 or more for intervals.")
    if not 0 < delta < np.inf:
        raise UserError(f"{delta} is not a positive threshold", where="delta")


def _kept(table: Table, holdout: str | None) -> np.ndarray:
    if holdout is None:
        return np.ones(len(table), bool)
    out = rows_where(holdout, table)
    if not out.any() or out.all():
        raise UserError(f'"{holdout}" holds for {out.sum()} of {len(table)} rows', where="holdout")
    return ~out


def _families(table: Table, asked: str | Sequence[str]) -> tuple[list[Family], list[str]]:
    """Families to compare, and a note on each that the table does not allow."""
    names = [asked] if isinstance(asked, str) else list(asked)
    auto = "auto" in names
    families, notes = [], []
    for family in FAMILIES.values() if auto else [family_named(name) for name in names]:
        reason = _why_not(table, family)
        if reason is None:
            families.append(family)
        elif not auto:
            raise UserError(reason, where=f"family {family.name}", mend="Try family auto, or add runs.")
        elif table.has_special:
            notes.append(f"{family.name} was left out: {reason}.")
    if not families:
        reason = _why_not(table, FAMILIES["chinchilla"])
        raise UserError(f"no family can be fitted to these {len(table)} rows ({reason})", mend="Add runs.")
    return families, notes


def _why_not(table: Table, family: Family) -> str | None:
    if family.uses_special and not table.has_special:
        return "it needs a d_special column"
    problem = Problem(table, family)
    rows, spent = int(problem.usable.sum()), problem.n_free
    if rows <= spent:
        return f"{rows} rows that it can predict do not determine its {spent} parameters"
    return None


def _corner_speakers(tried: Sequence[Candidate], order: Sequence[int]) -> list[int]:
    """The best families that predict D' = 0, D = 0, or both: a plan asks them where the chosen one cannot."""
    d, s = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    ranked = sorted(order, key=lambda i: _error(tried[i]))
    able = {i: tried[i].problem.family.finite(d, s) for i in ranked}
    speakers = (next((i for i in ranked if able[i][corners].all()), None) for corners in ([0], [1], [0, 1]))
    return [i for i in speakers if i is not None]


class _Counter:
    """Reports finished steps."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, value: Any, what: str) -> Any:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, what)
        return value


@dataclass(frozen=True)
class Candidate:
    """A family on its way: solution, predictions of held-out rows, draws."""

    problem: Problem
    found: Found
    heldout: dict[str, np.ndarray]
    score: selection.Score | None = None
    draws: tuple[np.ndarray, ...] = ()


def _error(candidate: Candidate) -> float:
    return candidate.score.mre if candidate.score else np.inf


class _Run:
    """What all families of a fit have in common."""

    def __init__(self, table: Table, seed: int, kind: str, delta: float, joint: bool, bootstrap: int) -> None:
        from .solver import Loss

        self.table, self.seed, self.joint, self.bootstrap = table, seed, joint, bootstrap
        self.loss = Loss(kind, delta)
        self.cuts = selection.cuts(table, seed)

    def _rng(self, family: Family, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, *family.name.encode()])

    def candidate(self, family: Family) -> Candidate:
        problem = Problem(self.table, family, joint=self.joint)
        found = problem.search(self.loss, self.table.weight[None], STARTS, self._rng(family, 0))[0]
        weights = np.stack([np.where(test, 0.0, self.table.weight) for test in self.cuts.values()])
        held = problem.search(self.loss, weights, HELDOUT_STARTS, self._rng(family, 1))
        predicted = {
            axis: problem.predict([x[None] for x in fold.xs])[0] for axis, fold in zip(self.cuts, held, strict=True)
        }
        return Candidate(problem, found, predicted)

    def compare(self, tried: list[Candidate]) -> tuple[list[int], list[int], bool, list[str]]:
        """Order of families (chosen first), those near the best, whether the mean is beaten, and notes."""
        common = np.all([candidate.problem.usable for candidate in tried], 0)
        cuts = {axis: test for axis, test in self.cuts.items() if (test & common).any()}
        for i, candidate in enumerate(tried):
            tried[i] = replace(candidate, score=selection.score(self.table, cuts, candidate.heldout, common))
        pairs = [selection.errors(self.table, cuts, candidate.heldout, common) for candidate in tried]
        units = pairs[0][1]
        chosen, near = selection.choose([e for e, _ in pairs], units, [c.problem.n_free for c in tried])
        order = sorted(range(len(tried)), key=lambda i: (i != chosen, _error(tried[i])))
        gain = selection.mean_errors(self.table, cuts, common) - pairs[chosen][0]
        beats = bool(gain.mean() > selection.clustered_se(gain, units))
        every = f" that all {len(tried)} families predict" if len(tried) > 1 else ""
        notes = [f"Held out: {', '.join(cuts)}; {len(units)} rows{every}."]
        return order, near, beats, notes

    def with_draws(self, candidate: Candidate) -> Candidate:
        if not self.bootstrap:
            return candidate
        from .bootstrap import bootstrap

        rng = self._rng(candidate.problem.family, 2)
        draws = bootstrap(
            candidate.problem, self.loss, candidate.found.xs, self.table.weight, self.bootstrap, rng
        )
        return replace(candidate, draws=tuple(draws))

    def fitted(self, candidate: Candidate) -> Fitted:
        problem, found, y = candidate.problem, candidate.found, self.table.loss
        predicted = problem.predict([x[None] for x in found.xs])[0]
        at = problem.usable & (self.table.weight > 0)
        residual = np.log(predicted[at] / y[at])
        size = np.abs(residual)
        huber = np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA))
        flat, bound = self._flaws(candidate)
        spread = np.square(y[at] - y[at].mean()).sum()
        return Fitted(
            forms=tuple(problem.forms), reference=problem.reference, xs=tuple(found.xs), n=int(at.sum()),
            objective=float((self.table.weight[at] * huber).sum()),
            mre=float(np.abs(predicted[at] / y[at] - 1).mean()),
            r2=float(1 - np.square(predicted[at] - y[at]).sum() / spread) if spread > 0 else 0.0,
            agree=found.agree, starts=found.starts, ridge=tuple(flat), at_bound=tuple(bound),
            heldout=candidate.score, draws=candidate.draws,
        )  # fmt: skip

    def _flaws(self, candidate: Candidate) -> tuple[list[str], list[str]]:
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


def _score_kept_out(fitted: Fitted, table: Table, kept: np.ndarray) -> selection.Score | None:
    """Errors on the caller's rows that this family can predict."""
    rest = table.select(~kept)
    predicted = fitted.on(rest)
    at = np.isfinite(predicted)
    if not at.any():
        return None
    y, f = rest.loss[at], predicted[at]
    spread = float(np.square(y - y.mean()).sum())
    r2 = 1 - float(np.square(f - y).sum()) / spread if spread > 0 else float("nan")
    return selection.Score(int(at.sum()), float(np.abs(f / y - 1).mean()), r2)


def _notes(table: Table, chosen: Fitted, draws: int) -> list[str]:
    notes = []
    distinct = len(np.unique(table.n_params))
    if distinct == 1:
        notes.append("The table has one N: the N term was dropped, and other N are not predicted.")
    elif distinct < 3:
        notes.append("The table has two N: no extrapolation in N.")
    if draws and table.run is None:
        notes.append("No 'run' column: residuals were redrawn row by row.")
    if chosen.ridge:
        notes.append(f"The fit lies on a ridge: {', '.join(chosen.ridge)} are not determined.")
    if chosen.at_bound:
        notes.append(f"At a bound: {', '.join(chosen.at_bound)}.")
    if chosen.agree == 1:
        notes.append(f"Only one of {chosen.starts} starts found this optimum.")
    return notes
