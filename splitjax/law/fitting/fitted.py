"""One family with its parameters: predictions, and the parameters of its formula with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitjax.config import UserError

from ..tables.table import Table
from .form import Form
from .scale import Reference
from .selection import Score

INTERVAL = (5.0, 95.0)
"""Percentiles of the 90 % intervals."""


@dataclass(frozen=True)
class Fitted:
    """A family with its parameters.

    Attributes:
        forms: layout, one a part (all domains together, or one part a domain).
        reference: units of the solution.
        xs: solution of each part.
        n: rows fitted.
        objective: sum of weighted Huber(1e-3) over log residuals, whatever loss was minimised.
        mre, r2: mean relative error and explained variance on the rows fitted.
        agree, starts: how many of the starts found this solution.
        ridge: parameters that the data leave open.
        at_bound: parameters that rest on a bound.
        heldout: errors on runs larger than those fitted, on rows that all compared families predict.
        holdout: errors on the rows that the caller kept out.
        draws: bootstrap solutions [draws, size], one array a part; empty where none were asked for.
    """

    forms: tuple[Form, ...]
    reference: Reference
    xs: tuple[np.ndarray, ...]
    n: int
    objective: float
    mre: float
    r2: float
    agree: int
    starts: int
    ridge: tuple[str, ...] = ()
    at_bound: tuple[str, ...] = ()
    heldout: Score | None = None
    holdout: Score | None = None
    draws: tuple[np.ndarray, ...] = ()

    @property
    def name(self) -> str:
        return self.forms[0].family.name

    @property
    def formula(self) -> str:
        return self.forms[0].family.formula

    @property
    def n_free(self) -> int:
        return sum(form.n_free for form in self.forms)

    @property
    def drawn(self) -> int:
        """How many draws there are."""
        return len(self.draws[0]) if self.draws else 0

    def finite(self, d: Any, s: Any) -> np.ndarray:
        """Where the family predicts a loss, from tokens D and D'."""
        return np.asarray(self.forms[0].family.finite(np.asarray(d), np.asarray(s)))

    def losses(
        self, n_params: Any, d_pretrain: Any, d_special: Any, domain: str, *,
        draws: bool = False, u_pretrain: Any = None, u_special: Any = None, alone: bool = False,
    ) -> np.ndarray:
        """Predicted loss of a domain, [points], or [draws, points]; the same `alone` as among all."""
        d, s = (np.atleast_1d(np.asarray(part, float)) for part in (d_pretrain, d_special))
        rows = self.reference.rows(n_params, d, s, u_pretrain, u_special)
        for part, form in enumerate(self.forms):
            if domain in form.domains:
                x = self.draws[part] if draws else self.xs[part][None]
                loss = form.losses(x, rows, form.domains.index(domain))
                finite = np.broadcast_to(form.family.finite(d, s), rows.n.shape)
                loss = np.where(finite, loss, np.inf)
                return loss if draws else loss[0]
        raise UserError(f"no domain '{domain}' in this law", where="domain")

    def on(self, table: Table, *, draws: bool = False) -> np.ndarray:
        """Predicted loss of every row of a table, [rows] or [draws, rows]; infinite where it cannot be predicted."""
        out = np.full((self.drawn, len(table)) if draws else len(table), np.inf)
        known = {domain for form in self.forms for domain in form.domains}
        for domain in known.intersection(table.domains):
            at = table.domain == domain
            u_d, u_s = (None if u is None else u[at] for u in (table.u_pretrain, table.u_special))
            points = (table.n_params[at], table.d_pretrain[at], table.d_special[at])
            out[..., at] = self.losses(*points, domain, draws=draws, u_pretrain=u_d, u_special=u_s)
        return out

    def slopes(self, table: Table) -> np.ndarray:
        """d log loss / d x of the rows that can be predicted, by each free parameter: [rows, free]."""
        columns = []
        for form, x in zip(self.forms, self.xs, strict=True):
            out = np.zeros((len(table), form.size))
            for g, domain in enumerate(form.domains):
                at = (table.domain == domain) & self.finite(table.d_pretrain, table.d_special)
                u_d, u_s = (None if u is None else u[at] for u in (table.u_pretrain, table.u_special))
                points = (table.n_params[at], table.d_pretrain[at], table.d_special[at])
                out[at] = form.slopes(x, self.reference.rows(*points, u_d, u_s), g)
            columns.append(out[:, np.not_equal(*form.bounds)])
        return np.concatenate(columns, 1)

    def parameters(self) -> dict[str, Any]:
        """name → value, or name → {domain: value} where every domain has its own."""
        return {name: _plain(values, lambda v: float(v[0])) for name, values in self._public(self.xs, None).items()}

    def intervals(self) -> dict[str, Any]:
        """90 % bootstrap intervals, in the same form."""
        if not self.draws:
            return {}
        return {name: _plain(values, percentiles) for name, values in self._public(self.draws, 0).items()}

    def _public(self, xs: Sequence[np.ndarray], draws: int | None) -> dict[str, dict[str, np.ndarray]]:
        """name → domain → values [draws]; domain "" for parameters that all domains share."""
        out: dict[str, dict[str, np.ndarray]] = {}
        for form, x in zip(self.forms, xs, strict=True):
            x = x[None] if draws is None else x
            shared = len(form.domains) > 1
            for g, domain in enumerate(form.domains):
                for name, (value, own) in public_parameters(form, self.reference, x, g).items():
                    out.setdefault(name, {})["" if shared and not own else domain] = value
        return out

    def to_json(self) -> dict[str, Any]:
        """Everything but the draws' layout, which the forms fix."""
        return {
            "family": self.name,
            "formula": self.formula,
            "parameters": self.parameters(),
            "intervals": self.intervals(),
            "n": self.n,
            "n_parameters": self.n_free,
            "objective": self.objective,
            "mre": self.mre,
            "r2": self.r2,
            "starts": {"agree": self.agree, "of": self.starts},
            "ridge": list(self.ridge),
            "at_bound": list(self.at_bound),
            "heldout": self.heldout.to_json() if self.heldout else None,
            "holdout": self.holdout.to_json() if self.holdout else None,
        }


def public_parameters(form: Form, ref: Reference, x: np.ndarray, g: int) -> dict[str, tuple[np.ndarray, bool]]:
    """Parameters of the formula, [draws] each, and whether they belong to one domain alone."""
    z = x[:, form.index[g]]
    solved = dict(zip(form.names, z.T, strict=True))
    p = {parameter.name: solved[parameter.name] for parameter in form.nonlinear}
    factors = form.family.units(p, ref.n, ref.t)
    values = {}
    with np.errstate(over="ignore"):
        for name, value in solved.items():
            as_log = name in p and next(q for q in form.nonlinear if q.name == name)
            values[name] = np.exp(value) if as_log and (as_log.scale or as_log.log) else value
            values[name] = values[name] * np.exp(factors.get(name, 0.0))
    own = {name: form._is_own(i) for i, name in enumerate(form.names)}
    dropped = set(form.family.of_n) if form.one_n else set()
    found = {k: (v, own[k]) for k, v in values.items() if k not in dropped}
    return found | ({"U": (np.full(len(x), np.exp(ref.t)), False)} if form.family.in_units else {})


def percentiles(values: np.ndarray) -> list[float]:
    """The 90 % interval of draws; infinite draws count as such."""
    low, high = np.percentile(values, INTERVAL, method="nearest")
    return [float(low), float(high)]


def shortest(values: np.ndarray) -> list[float]:
    """The shortest interval that holds 90 % of draws: where they pile up at an end of their range, it begins there."""
    values = np.sort(values)
    held = min(int(np.ceil(np.ptp(INTERVAL) / 100 * (len(values) + 1))), len(values))
    at = int(np.argmin(values[held - 1 :] - values[: len(values) - held + 1]))
    return [float(values[at]), float(values[at + held - 1])]


def _plain(values: Mapping[str, np.ndarray], summary: Any) -> Any:
    return summary(values[""]) if list(values) == [""] else {domain: summary(v) for domain, v in values.items()}
