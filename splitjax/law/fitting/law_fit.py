"""A fitted law: predictions, intervals, and the file it lives in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from splitjax.config import Shown, UserError, did_you_mean, format_count, read_record, write_record

from ..tables.table import Table
from .combined import Combined
from .families import family_named
from .fitted import INTERVAL, Fitted
from .form import Form
from .scale import Reference
from .selection import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..drawing.law_plot import Extrapolation, Isolines, Observed


KIND = "splitjax law"
VERSION = 3
EXTENT = 10.0
"""Pictures reach this many times beyond the largest D and D' that were fitted."""


@dataclass(frozen=True, eq=False, repr=False)
class LawFit(Shown):
    """What `fit` returns: one law, and the families that it was made of.

    Attributes:
        families: fitted families: first those that are combined, the heaviest first, then the rest by held-out error.
        weights: of the families that are combined; they sum to 1.
        table: the rows fitted.
        settings: loss, delta, bootstrap, seed, holdout, domains.
        beats_mean: whether the law predicts held-out rows better than their mean does.
        notes: what a reader must know, one sentence each.
        heldout: errors of the law on runs larger than those fitted.
        holdout: errors of the law on the rows that the caller kept out.
    """

    families: tuple[Fitted, ...]
    weights: Mapping[str, float]
    table: Table
    settings: Mapping[str, Any]
    beats_mean: bool = True
    notes: tuple[str, ...] = field(default=())
    heldout: Score | None = None
    holdout: Score | None = None

    @cached_property
    def chosen(self) -> Combined:
        """What speaks: the families that are combined, corrected by their residuals; one where one was asked for."""
        members = tuple(self.named(name) for name in self.weights)
        return Combined(members, tuple(self.weights.values()), self.table, self.heldout, self.holdout)

    @property
    def family(self) -> str:
        """"combined", or the family that speaks alone."""
        return self.chosen.name

    @property
    def domains(self) -> tuple[str, ...]:
        return self.table.domains

    @property
    def intervals(self) -> dict[str, Any]:
        """90 % intervals of the parameters of the heaviest family."""
        return self.families[0].intervals()

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
                        mend="Add runs of at least three N.")

    def check_worth(self) -> None:
        """Refuse to plan with a law that knows nothing.

        Raises:
            UserError: it predicts no better than the mean.
        """
        if not self.beats_mean:
            raise UserError("no family predicts held-out rows better than their mean does", where="law",
                            mend="Add runs, larger or less noisy, before planning with it.")

    def predict(
        self, n_params: float, d_pretrain: Any, d_special: Any = 0.0, domain: str | None = None, *,
        family: str | None = None, u_pretrain: Any = None, u_special: Any = None,
    ) -> Any:
        """Predicted loss in nats per token, of one domain or of the unweighted mean of all.

        Args:
            n_params: N, non-embedding parameters.
            d_pretrain, d_special: D and D', tokens; arrays broadcast.
            domain: a domain of the table; None for the mean.
            family: a family alone, uncorrected, instead of the combined law.
            u_pretrain, u_special: unique tokens among them, where data repeat.

        Returns:
            A float for scalars, else an array; infinite where the family cannot predict.

        Raises:
            UserError: no such domain or family, or an N that the table says nothing of.
        """
        self.check_n(n_params)
        fitted: Combined | Fitted = self.chosen if family is None else self.named(family)
        d, s = np.broadcast_arrays(np.asarray(d_pretrain, float), np.asarray(d_special, float))
        names = self.domains if domain is None else (domain,)
        u_d, u_s = (
            None if u is None else np.broadcast_to(np.asarray(u, float), d.shape).ravel()
            for u in (u_pretrain, u_special)
        )
        points = (n_params, d.ravel(), s.ravel())
        alone = domain is not None
        loss = np.mean([fitted.losses(*points, name, u_pretrain=u_d, u_special=u_s, alone=alone) for name in names], 0)
        return float(loss[0]) if d.ndim == 0 else loss.reshape(d.shape)

    def _headline(self) -> str:
        held = f", {self.heldout.mre:.2%} on held-out larger runs" if self.heldout else ""
        return f"Law: {self.family}, off by {self.chosen.mre:.2%} on {self.chosen.n} rows{held}"

    def _columns(self) -> dict[str, list[Any]]:
        told = [each.to_json() for each in self.families]
        return {
            "family": [each["family"] for each in told],
            "weight": [self.weights.get(each["family"], 0.0) for each in told],
            "formula": [each.formula for each in self.families], "mre": [each["mre"] for each in told],
            "heldout_mre": [(each["heldout"] or {}).get("mre") for each in told],
        }

    def summary(self) -> dict[str, Any]:
        """The `--json` of `splitjax fit`."""
        first, law = self.families[0], self.chosen
        return {
            "family": law.name, "formula": law.formula, "weights": dict(self.weights),
            "parameters_of": first.name, "parameters": first.parameters(), "intervals": first.intervals(),
            "objective": first.objective, "mre": law.mre, "r2": law.r2, "n": law.n,
            "heldout": self.heldout.to_json() if self.heldout else None,
            "holdout": self.holdout.to_json() if self.holdout else None,
            "correction": law.correction.to_json() if law.correction else None,
            "allowance": law.allowance.to_json() if law.allowance else None,
            "stand_out": law.told_apart(),
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
            ]
            ref = fitted.reference
            saved.append({"family": fitted.name, "reference": [ref.n, ref.t], "parts": parts})
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
        from ..drawing.law_plot import draw_law

        title = f"{self.family}: {self.chosen.formula}"
        return draw_law(title, self._observed(), self._isolines(), self._extrapolation())

    def _observed(self) -> Observed:
        from ..drawing.law_plot import Observed

        t, chosen = self.table, self.chosen
        return Observed(t.n_params, t.d_pretrain + t.d_special, t.loss, chosen.uncorrected, chosen.n, chosen.mre)

    def _isolines(self) -> Isolines | None:
        """Over ten times the fitted D and D', at the largest N; None for a table without D'."""
        from ..drawing.law_plot import Isolines

        t = self.table
        if not t.has_special:
            return None
        n = self.ranges["n_params"][1]
        spans = [self.ranges[name] for name in ("d_pretrain", "d_special")]
        d, s = (np.geomspace(low, high * EXTENT, 81) for low, high in spans)
        both = (t.d_pretrain > 0) & (t.d_special > 0)
        cells = np.stack([t.d_pretrain[both], t.d_special[both]], 1)
        return Isolines(n, d, s, self.predict(n, d[None, :], s[:, None]), cells)

    def _extrapolation(self) -> Extrapolation:
        """Mean loss over D at the most common D', for each N (at most five), with the band of the draws."""
        from ..drawing.law_plot import Curve, Extrapolation

        t = self.table
        sizes = np.unique(t.n_params)
        s = _typical_special(t)
        low, high = self.ranges["d_pretrain"]
        d = np.geomspace(low, high * EXTENT, 121)
        curves = []
        for n in sizes[np.unique(np.linspace(0, len(sizes) - 1, 5).round().astype(int))].tolist():
            band = None
            if self.chosen.drawn:
                draws = np.mean([self.chosen.losses(n, d, s, name, draws=True) for name in self.domains], 0)
                band = np.percentile(draws, INTERVAL, axis=0)
            at = (t.n_params == n) & (t.d_special == s) & (t.d_pretrain > 0)
            cells = [(each, t.loss[at & (t.d_pretrain == each)].mean()) for each in np.unique(t.d_pretrain[at])]
            curves.append(Curve(n, self.predict(n, d, s), band, np.array(cells, float).reshape(-1, 2)))
        return Extrapolation(d, s, high, tuple(curves))


def _typical_special(table: Table) -> float:
    """The D' > 0 with the most rows; 0 where the table has none."""
    values, counts = np.unique(table.d_special[table.d_special > 0], return_counts=True)
    return float(values[np.argmax(counts)]) if len(values) else 0.0


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
    heldout, holdout = (Score(**tree[key]) if tree[key] else None for key in ("heldout", "holdout"))
    return LawFit(
        tuple(families), {name: float(weight) for name, weight in tree["weights"].items()},
        Table.from_json(tree["table"]["rows"]), tree["settings"], tree["beats_mean"], tuple(tree["notes"]),
        heldout, holdout,
    )
