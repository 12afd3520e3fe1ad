"""`fit`: families over a table, weighed by held-out error and combined, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from splitjax.config import UserError

from ..tables.expression import rows_where
from ..tables.table import Table
from . import selection
from .candidates import DELTA, Bench, Candidate
from .combined import Combined
from .engine import Problem
from .families import FAMILIES, Family, family_named
from .fitted import Fitted
from .identify import check_design, check_sense, unpredicted
from .law_fit import LawFit

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what was just done."""

WORKERS = 2
"""Families fitted at a time: numpy works on arrays outside the interpreter lock."""


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
    train = _sound(table.select(kept := _kept(table, holdout)))
    families, notes = _families(train, family)
    bench = Bench(train, families, seed, loss, delta, domains == "joint", bootstrap)
    count = _Counter(progress, len(families) + 1)
    tried, weights, drawn = _tried(bench, families, count)
    count(None, "bootstrap")
    scores, told = bench.scores(tried)
    made = (bench.fitted(drawn.get(_name(each), each), score) for each, score in zip(tried, scores, strict=True))
    fitted = {each.name: replace(each, holdout=_score_kept_out(each, table, kept)) for each in made}
    law = Combined(tuple(fitted[name] for name in weights), tuple(weights.values()), train)
    _refuse_senseless(law)
    heldout, beats = bench.whole([drawn[name] for name in weights], [*weights.values()], law.correction)
    settings = {"loss": loss, "delta": delta, "bootstrap": bootstrap, "seed": seed, "holdout": holdout,
                "domains": domains}
    rest = sorted(fitted.keys() - weights.keys(), key=lambda name: _error(fitted[name]))
    return LawFit(
        tuple(fitted[name] for name in (*weights, *rest)), weights, train, settings, beats,
        (*table.notes, *notes, *told, *unpredicted(train, families), *_notes(law, bootstrap)), heldout,
        _score_kept_out(law, table, kept),
    )


def _sound(table: Table) -> Table:
    """The table, refused where no law can make sense of it."""
    check_design(table)
    check_sense(table)
    return table


def _tried(
    bench: Bench, families: Sequence[Family], count: _Counter
) -> tuple[list[Candidate], dict[str, float], dict[str, Candidate]]:
    """Every family fitted; the weights of those that are combined, the heaviest first; and these with their draws."""
    # Families have the cores to themselves: small matrices gain nothing from BLAS's own threads, which would fight.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(WORKERS) as pool:
        tried = list(pool.map(lambda f: count(bench.candidate(f), f"fitted {f.name}"), families))
        members = _members(tried, bench.table)
        shares = bench.weights(members)
        speaking = [each for each, share in zip(members, shares, strict=True) if share > 0]
        if bench.bootstrap:
            noise = bench.noise(speaking, [share for share in shares if share > 0])
            speaking = list(pool.map(lambda each: bench.with_draws(each, noise), speaking))
    weights = {_name(each): float(share) for each, share in zip(members, shares, strict=True) if share > 0}
    weights = dict(sorted(weights.items(), key=lambda pair: -pair[1]))
    return tried, weights, {_name(each): each for each in speaking}


def _name(candidate: Candidate) -> str:
    return candidate.family.name


def _error(fitted: Fitted) -> float:
    return fitted.heldout.mre if fitted.heldout else np.inf


def _members(tried: Sequence[Candidate], table: Table) -> list[Candidate]:
    """Families that are combined: those that predict both corners, D = 0 and D' = 0; all where none does.

    Without the others the combined law is continuous there, which is where a plan must compare.
    """
    d, s = (np.array([1.0, 0.0]), np.array([0.0, 1.0])) if table.has_special else (np.ones(1), np.zeros(1))
    able = [each for each in tried if np.all(each.family.finite(d, s))]
    return able or list(tried)


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
        if auto and table.has_special and not family.uses_special:
            continue
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


class _Counter:
    """Reports finished steps."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, value: Any, what: str) -> Any:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, what)
        return value


def _refuse_senseless(law: Combined) -> None:
    """Raise UserError for a law that is worse on its own rows than their mean."""
    if law.r2 < 0:
        raise UserError(f"the law explains nothing of its own rows (R² = {law.r2:.2f})", where=f"family {law.name}",
                        mend="Look for rows of another unit or another model in the table.")


def _score_kept_out(law: Fitted | Combined, table: Table, kept: np.ndarray) -> selection.Score | None:
    """Errors on the caller's rows that this law can predict; None where none were kept out."""
    if kept.all():
        return None
    rest = table.select(~kept)
    predicted = law.on(rest)
    at = np.isfinite(predicted)
    if not at.any():
        return None
    y, f = rest.loss[at], predicted[at]
    r2 = selection.explained(y, f) if len(np.unique(y)) > 1 else float("nan")
    return selection.Score(int(at.sum()), float(np.abs(f / y - 1).mean()), r2)


def _notes(law: Combined, draws: int) -> list[str]:
    table, notes = law.table, []
    distinct = len(np.unique(table.n_params))
    if distinct == 1:
        notes.append("The table has one N: the N term was dropped, and other N are not predicted.")
    elif distinct < 3:
        notes.append("The table has two N: no extrapolation in N.")
    if draws and table.run is None:
        notes.append("No 'run' column: residuals were redrawn row by row.")
    if told := law.told_apart():
        listed = "; ".join([*told[:5], *(["…"] if told[5:] else [])])
        notes.append(f"{len(told)} rows stand out and correct nothing: {listed}.")
    if found := law.correction:
        notes.append(f"The law is off by {found.scale:.1%} in stretches that are no noise: it is corrected near its "
                     "rows, and its intervals allow for as much away from them.")
    elif allowed := law.allowance:
        notes.append(f"So few runs could not show how far the law is off: its intervals allow for {allowed.scale:.1%}, "
                     "as is usual.")
    for each in law.members:
        if each.ridge:
            notes.append(f"{each.name} lies on a ridge: {', '.join(each.ridge)} are not determined.")
        if each.at_bound:
            notes.append(f"{each.name} is at a bound: {', '.join(each.at_bound)}.")
        if each.agree == 1:
            notes.append(f"Only one of {each.starts} starts found this optimum of {each.name}.")
    return notes
