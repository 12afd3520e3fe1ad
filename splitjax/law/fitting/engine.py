"""A table and a family made ready for the solver: scaling, layout by domain, many starts, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tables.table import Table
from .families import Family, Rows
from .form import Form
from .scale import Reference, repeats
from .solver import Data, Loss, refine, screen

CANDIDATES = 1024
"""Random nonlinear parameter vectors that are screened for starts."""
FEWER = 256
"""The same where ends of another fit are known."""
DRAWN = 1e-6
"""Relative gain below which a draw has settled: what is left is small beside its noise."""
AGREE = 1e-6
"""Starts whose objectives are within this relative distance of the best have found it too."""
SOON = 12
"""Steps after which the worse two thirds of the starts are left where they are."""
ENOUGH, LONGER = 4, 8
"""Agreeing starts below which the best ones, LONGER in all, are given more steps."""


@dataclass(frozen=True)
class Part:
    """Domains that are fitted together: where the table's rows lie in the solver's [G, n] arrays."""

    form: Form
    rows: Rows
    at: np.ndarray
    """Table rows of this part."""
    group: np.ndarray
    slot: np.ndarray


class Problem:
    """A family over a table. Only rows that the family can predict are fitted.

    Args:
        table: observations.
        family: the law.
        joint: one fit with shared exponents for all domains; else a fit for each domain.
    """

    def __init__(self, table: Table, family: Family, *, joint: bool = True) -> None:
        self.table, self.family, self.joint = table, family, joint
        self.reference = Reference.of(table)
        self.usable = np.asarray(family.finite(table.d_pretrain, table.d_special))
        groups = [table.domains] if joint else [(domain,) for domain in table.domains]
        one_n = len(np.unique(table.n_params)) == 1
        repeats = repeated(table)
        self.forms = [Form(family, domains, one_n, repeats) for domains in groups]
        self._rows = self.reference.rows(
            table.n_params, table.d_pretrain, table.d_special, table.u_pretrain, table.u_special
        )
        width = max((int((table.domain == domain).sum()) for domain in table.domains), default=1)
        self.parts = [self._part(form, width) for form in self.forms]

    @property
    def n_free(self) -> int:
        return sum(form.n_free for form in self.forms)

    def _part(self, form: Form, width: int) -> Part:
        at = np.flatnonzero(np.isin(self.table.domain, form.domains))
        group = np.array([form.domains.index(domain) for domain in self.table.domain[at]], int)
        slot = np.zeros(len(at), int)
        for g in range(len(form.domains)):
            slot[group == g] = np.arange((group == g).sum())
        shape = (len(form.domains), width)
        arrays = []
        for column in self._rows:
            array = np.zeros(shape)
            array[group, slot] = np.where(self.usable[at], column[at], 0.0)
            arrays.append(array)
        return Part(form, Rows(*arrays), at, group, slot)

    def data(self, part: Part, y: np.ndarray, w: np.ndarray) -> Data:
        """Losses and weights of all table rows, [lanes, rows], in a part's layout; padding weighs nothing."""
        w = np.where(self.usable, w, 0.0)
        lanes = [np.full((len(a), *part.rows.n.shape), fill) for a, fill in ((y, 1.0), (w, 0.0))]
        for lane, values in zip(lanes, (y, w), strict=True):
            lane[:, part.group, part.slot] = values[:, part.at]
        return Data(part.rows, *lanes)

    def search(
        self, loss: Loss, weights: np.ndarray, starts: int, rng: np.random.Generator, near: Found | None = None
    ) -> list[Found]:
        """Fit with many starts, once for each row of `weights` [fits, rows]; some of them ends of another fit."""
        known = near.ends if near else [np.zeros((0, part.form.size)) for part in self.parts]
        lanes = [self._descend(part, loss, weights, starts, rng, k) for part, k in zip(self.parts, known, strict=True)]
        return [Found.of([part[i] for part in lanes]) for i in range(len(weights))]

    def _descend(
        self, part: Part, loss: Loss, weights: np.ndarray, starts: int, rng: np.random.Generator, known: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ends and objectives of each fit's starts."""

        def run(x: np.ndarray, w: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
            low, high = (np.tile(bound, (len(x), 1)) for bound in part.form.bounds)
            y = np.broadcast_to(self.table.loss, w.shape)
            x, values = refine(part.form, loss, self.data(part, y, w), x, low, high, **options)
            return x, np.where(np.isfinite(values), values, np.inf)

        fresh, tried = starts - len(known), FEWER if len(known) else CANDIDATES
        x = np.concatenate([row for w in weights for row in (known, self._starts(part, loss, w, fresh, tried, rng))])
        x, values = run(x, np.repeat(weights, starts, 0), anneal=64.0, steps=SOON)
        values = values.reshape(len(weights), starts)

        def go_on(fits: Sequence[int], each: int, steps: int) -> None:
            at = np.concatenate([i * starts + np.argsort(values[i], kind="stable")[:each] for i in fits])
            x[at], values.reshape(-1)[at] = run(x[at], weights[at // starts], steps=steps)

        go_on(range(len(weights)), max(ENOUGH, starts // 3), 60)
        slow = [i for i, value in enumerate(values) if _agreeing(value) < ENOUGH]
        if slow:  # a crooked valley: the best go on for longer
            go_on(slow, min(starts, max(1, LONGER // len(slow))), 500 if len(weights) == 1 else 200)
        return list(zip(x.reshape(len(weights), starts, -1), values, strict=True))

    def _starts(
        self, part: Part, loss: Loss, w: np.ndarray, starts: int, tried: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Starts [starts, size]: the best of many screened candidates, with some of the others for variety."""
        form = part.form
        low = np.array([p.start[0] for p in form.nonlinear])
        high = np.array([p.start[1] for p in form.nonlinear])
        fixed = form.bounds[0] == form.bounds[1]
        thetas = rng.uniform(low, high, (tried, 1, len(low))).repeat(len(form.domains), 1)
        thetas = np.where(fixed[form.index[:, form.n_linear :]], 0.0, thetas)
        scores, c = screen(form, loss, self.data(part, self.table.loss[None], w[None]), thetas)
        order = np.argsort(np.where(np.isfinite(scores), scores, np.inf), kind="stable")
        rest = order[starts * 3 // 4 : tried // 2]
        chosen = np.concatenate([order[: starts * 3 // 4], rng.permutation(rest)[: starts - starts * 3 // 4]])
        local = np.concatenate([c[chosen], thetas[chosen]], 2)
        x = np.zeros((len(chosen), form.size))
        x[:, form.index] = local
        return np.clip(x, *form.bounds)

    def refit(self, loss: Loss, xs: Sequence[np.ndarray], y: np.ndarray, w: np.ndarray) -> list[np.ndarray]:
        """Fit again from known solutions `xs` (one a part, [size]) to other losses or weights [lanes, rows]."""
        out = []
        for part, x in zip(self.parts, xs, strict=True):
            low, high = (np.tile(bound, (len(y), 1)) for bound in part.form.bounds)
            start = np.tile(np.clip(x, *part.form.bounds), (len(y), 1))
            out.append(refine(part.form, loss, self.data(part, y, w), start, low, high, exact=DRAWN)[0])
        return out

    def sensitivity(self, part: Part, x: np.ndarray) -> np.ndarray:
        """d log loss / d x of the rows a part can predict, [rows, size]."""
        each = [part.at[(part.group == g) & self.usable[part.at]] for g in range(len(part.form.domains))]
        return np.concatenate([part.form.slopes(x, self._at(at), g) for g, at in enumerate(each)])

    def _at(self, at: np.ndarray) -> Rows:
        return Rows(*(column[at] for column in self._rows))

    def predict(self, xs: Sequence[np.ndarray]) -> np.ndarray:
        """Predicted loss of every table row, [draws, rows], from xs (one a part, [draws, size])."""
        out = np.full((len(xs[0]), len(self.table)), np.inf)
        for part, x in zip(self.parts, xs, strict=True):
            for g in range(len(part.form.domains)):
                at = part.at[(part.group == g) & self.usable[part.at]]
                out[:, at] = part.form.losses(x, self._at(at), g)
        return out


def repeated(table: Table) -> tuple[str, ...]:
    """Half-lives that the table can speak of: some rows hold repeated tokens."""
    names = []
    if table.u_pretrain is not None and repeats(table.d_pretrain, table.u_pretrain).max() > 0:
        names.append("R_pretrain")
    if table.u_special is not None and repeats(table.d_special, table.u_special).max() > 0:
        names.append("R_special")
    return tuple(names)


@dataclass(frozen=True)
class Found:
    """Best of many starts.

    Attributes:
        xs: solution of each part.
        ends: a few good ends of the starts of each part, [ends, size].
        objective: summed over parts.
        agree, starts: how many starts found the best (the fewest over parts), of how many.
    """

    xs: list[np.ndarray]
    ends: list[np.ndarray]
    objective: float
    agree: int
    starts: int

    @staticmethod
    def of(lanes: Sequence[tuple[np.ndarray, np.ndarray]]) -> Found:
        xs, ends, objective, agree = [], [], 0.0, []
        for x, values in lanes:
            order = np.argsort(values, kind="stable")
            xs.append(x[order[0]])
            ends.append(x[order[: len(order) // 2 : max(1, len(order) // 6)]])
            objective += float(values[order[0]])
            agree.append(_agreeing(values))
        return Found(xs, ends, objective, min(agree), len(lanes[0][1]))


def _agreeing(values: np.ndarray) -> int:
    return int((values <= values.min() * (1 + AGREE)).sum())
