"""A fitted law: predictions, intervals, and the file it lives in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from splitjax.config import UserError, did_you_mean, format_count, read_record, write_record

from .engine import Reference
from .families import family_named
from .form import Form
from .misfit import Misfit, misfit_of
from .selection import Score
from .table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND = "splitjax law"
VERSION = 2
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
    def n_free(self) -> int:
        return sum(form.n_free for form in self.forms)

    def losses(
        self, n_params: Any, d_pretrain: Any, d_special: Any, domain: str, *,
        draws: bool = False, u_pretrain: Any = None, u_special: Any = None,
    ) -> np.ndarray:  # fmt: skip
        """Predicted loss of a domain, [points], or [draws, points] from the bootstrap."""
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

    def on(self, table: Table) -> np.ndarray:
        """Predicted loss of every row of a table; infinite where the family or its domains cannot predict."""
        out = np.full(len(table), np.inf)
        known = {domain for form in self.forms for domain in form.domains}
        for domain in known.intersection(table.domains):
            at = table.domain == domain
            u_d, u_s = (None if u is None else u[at] for u in (table.u_pretrain, table.u_special))
            points = (table.n_params[at], table.d_pretrain[at], table.d_special[at])
            out[at] = self.losses(*points, domain, u_pretrain=u_d, u_special=u_s)
        return out

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
            "formula": self.forms[0].family.formula,
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
    factors = form.family.units(p, ref.n, ref.d, ref.s)
    values = {}
    with np.errstate(over="ignore"):
        for name, value in solved.items():
            is_scale = name in p and next(q for q in form.nonlinear if q.name == name).scale
            values[name] = np.exp(value) if is_scale else value
            values[name] = values[name] * np.exp(factors.get(name, 0.0))
    own = {name: form._is_own(i) for i, name in enumerate(form.names)}
    dropped = set(form.family.of_n) if form.one_n else set()
    return {k: (v, own[k]) for k, v in form.family.public(values).items() if k not in dropped}


def percentiles(values: np.ndarray) -> list[float]:
    """The 90 % interval of draws; infinite draws count as such."""
    low, high = np.percentile(values, INTERVAL, method="nearest")
    return [float(low), float(high)]


def _plain(values: Mapping[str, np.ndarray], summary: Any) -> Any:
    return summary(values[""]) if list(values) == [""] else {domain: summary(v) for domain, v in values.items()}


@dataclass(frozen=True, eq=False)
class LawFit:
    """What `fit` returns: all families compared, the chosen one first.

    Attributes:
        families: fitted families, the chosen one first, the rest by held-out error.
        near: names of the families within one standard error of the best; the split's interval spans them all.
        table: the rows fitted.
        settings: loss, delta, bootstrap, seed, holdout, domains.
        beats_mean: whether the chosen family predicts held-out rows better than their mean does.
        notes: what a reader must know, one sentence each.
    """

    families: tuple[Fitted, ...]
    near: tuple[str, ...]
    table: Table
    settings: Mapping[str, Any]
    beats_mean: bool = True
    notes: tuple[str, ...] = field(default=())

    @property
    def chosen(self) -> Fitted:
        return self.families[0]

    @property
    def family(self) -> str:
        return self.chosen.name

    @property
    def domains(self) -> tuple[str, ...]:
        return self.table.domains

    def misfit(self, fitted: Fitted) -> Misfit | None:
        """How far a family is off beyond noise, on the rows that were fitted; None where noise explains them."""
        if fitted.name not in self._misfits:
            self._misfits[fitted.name] = misfit_of(self.table, fitted.on(self.table))
        return self._misfits[fitted.name]

    @cached_property
    def _misfits(self) -> dict[str, Misfit | None]:
        return {}

    @property
    def holdout(self) -> Score | None:
        """Errors of the chosen family on the rows that the caller kept out."""
        return self.chosen.holdout

    @property
    def intervals(self) -> dict[str, Any]:
        """90 % intervals of the chosen family's parameters."""
        return self.chosen.intervals()

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest positive and largest value of each coordinate, and of D + D'."""
        t = self.table
        columns = {"n_params": t.n_params, "d_pretrain": t.d_pretrain, "d_special": t.d_special}
        columns["tokens"] = t.d_pretrain + t.d_special
        return {name: (float(v[v > 0].min()), float(v.max())) for name, v in columns.items() if (v > 0).any()}

    def named(self, family: str) -> Fitted:
        """A compared family by name.

        Raises:
            UserError: it was not fitted.
        """
        found = {fitted.name: fitted for fitted in self.families}
        if family not in found:
            raise UserError(f"family '{family}' was not fitted", where="family", mend=did_you_mean(family, found))
        return found[family]

    def at_corner(self, fitted: Fitted, fraction: float) -> Fitted | None:
        """The family that predicts D'=0 (fraction 1) or D=0 (fraction 0): `fitted`, else the best that can."""
        d, s = np.array(fraction), np.array(1.0 - fraction)
        ranked = sorted(self.families, key=lambda f: f.heldout.mre if f.heldout else np.inf)
        return next((f for f in (fitted, *ranked) if f.forms[0].family.finite(d, s)), None)

    def check_n(self, n_params: float) -> None:
        """Refuse an N that the table says nothing of.

        Raises:
            UserError: another N than the table's only one, or beyond its range where it has fewer than three.
        """
        distinct = np.unique(self.table.n_params)
        if len(distinct) >= 3 or distinct[0] * (1 - 1e-9) <= n_params <= distinct[-1] * (1 + 1e-9):
            return
        what = f"the table has {len(distinct)} N ({', '.join(map(format_count, distinct))})"
        reason = "the N term was dropped" if len(distinct) == 1 else "that does not allow extrapolation in N"
        raise UserError(f"{what}: {reason}, so N = {format_count(n_params)} cannot be predicted", where="n_params",
                        mend="Add runs of at least three N.")  # fmt: skip

    def predict(
        self, n_params: float, d_pretrain: Any, d_special: Any = 0.0, domain: str | None = None, *,
        family: str | None = None, u_pretrain: Any = None, u_special: Any = None,
    ) -> Any:  # fmt: skip
        """Predicted loss in nats per token, of one domain or of the unweighted mean of all.

        Args:
            n_params: N, non-embedding parameters.
            d_pretrain, d_special: D and D', tokens; arrays broadcast.
            domain: a domain of the table; None for the mean.
            family: another compared family than the chosen one.
            u_pretrain, u_special: unique tokens among them, where data repeat.

        Returns:
            A float for scalars, else an array; infinite where the family cannot predict.

        Raises:
            UserError: no such domain or family, or an N that the table says nothing of.
        """
        self.check_n(n_params)
        fitted = self.chosen if family is None else self.named(family)
        d, s = np.broadcast_arrays(np.asarray(d_pretrain, float), np.asarray(d_special, float))
        names = self.domains if domain is None else (domain,)
        u_d, u_s = (
            None if u is None else np.broadcast_to(np.asarray(u, float), d.shape).ravel()
            for u in (u_pretrain, u_special)
        )
        points = (n_params, d.ravel(), s.ravel())
        loss = np.mean([fitted.losses(*points, name, u_pretrain=u_d, u_special=u_s) for name in names], 0)
        return float(loss[0]) if d.ndim == 0 else loss.reshape(d.shape)

    def summary(self) -> dict[str, Any]:
        """The `--json` of `splitjax fit`."""
        chosen = self.chosen.to_json()
        keys = ("family", "formula", "parameters", "objective", "mre", "r2", "n", "holdout", "intervals")
        return {
            **{key: chosen[key] for key in keys},
            "near": list(self.near),
            "families": [fitted.to_json() for fitted in self.families],
            "beats_mean": self.beats_mean,
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "ranges": {name: list(pair) for name, pair in self.ranges.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, so that `LawFit.load` gives the same predictions and intervals."""
        saved = []
        for fitted in self.families:
            drawn = fitted.draws or [x[:0] for x in fitted.xs]
            parts = [
                {
                    "domains": form.domains, "one_n": form.one_n, "repeats": form.repeats,
                    "x": x.tolist(), "draws": draws.tolist(),
                }
                for form, x, draws in zip(fitted.forms, fitted.xs, drawn, strict=True)
            ]  # fmt: skip
            ref = fitted.reference
            saved.append({"family": fitted.name, "reference": [ref.n, ref.d, ref.s], "parts": parts})
        return {
            "version": VERSION,
            "kind": KIND,
            **self.summary(),
            "table": {"hash": self.table.hash, "rows": self.table.to_json()},
            "solutions": saved,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write law.json, whole or not at all."""
        write_record(path, self.to_json())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> LawFit:
        """Read what `save` wrote.

        Raises:
            UserError: not a law, another version, or damaged.
        """
        mend = "Make one with splitjax fit TABLE.csv --out law.json."
        tree = read_record(path, "a law", {"kind": KIND, "version": VERSION}, mend)
        try:
            law = _from_json(tree)
            law.summary()
            law.predict(float(law.table.n_params[0]), law.table.d_pretrain, law.table.d_special)
        except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, AttributeError, UserError) as error:
            raise UserError(f"damaged law ({error!r:.200})", where=str(path), mend="Fit it again.") from None
        return law

    def plot(self) -> Figure:
        """Observations against predictions, residuals, isolines over (D, D') and extrapolation."""
        from .plots import plot_law

        return plot_law(self)


def _from_json(tree: dict[str, Any]) -> LawFit:
    families = []
    for solution, told in zip(tree["solutions"], tree["families"], strict=True):
        family = family_named(solution["family"])
        parts = solution["parts"]
        draws = tuple(np.array(part["draws"], float).reshape(len(part["draws"]), len(part["x"])) for part in parts)
        families.append(
            Fitted(
                forms=tuple(
                    Form(family, tuple(part["domains"]), bool(part["one_n"]), tuple(part["repeats"])) for part in parts
                ),
                reference=Reference(*solution["reference"]),
                xs=tuple(np.array(part["x"], float) for part in parts),
                draws=draws if all(len(d) for d in draws) else (),
                agree=told["starts"]["agree"],
                starts=told["starts"]["of"],
                ridge=tuple(told["ridge"]),
                at_bound=tuple(told["at_bound"]),
                heldout=Score(**told["heldout"]) if told["heldout"] else None,
                holdout=Score(**told["holdout"]) if told["holdout"] else None,
                **{key: told[key] for key in ("n", "objective", "mre", "r2")},
            )
        )
    return LawFit(
        tuple(families), tuple(tree["near"]), Table.from_json(tree["table"]["rows"]), tree["settings"],
        tree["beats_mean"], tuple(tree["notes"]),
    )  # fmt: skip
