"""One answer from several families: the geometric mean of what they predict, corrected by what it gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..tables.table import Table
from .allowance import allowance_of
from .correction import Correction, Runs, correction_of, pulled
from .fitted import Fitted
from .selection import Score, explained

APART = 8.0
"""Rows whose residual is this many times the common one stand out."""


@dataclass(frozen=True, eq=False)
class Combined:
    """Several families that speak with one voice; one family alone is the simplest case.

    Attributes:
        members: the families.
        weights: of each in the mean of their log predictions; they sum to 1.
        table: the rows fitted.
        heldout: errors on runs larger than those fitted, corrected as the whole is.
        holdout: errors on the rows that the caller kept out.
    """

    members: tuple[Fitted, ...]
    weights: tuple[float, ...]
    table: Table
    heldout: Score | None = None
    holdout: Score | None = None

    @property
    def name(self) -> str:
        return self.members[0].name if len(self.members) == 1 else "combined"

    @property
    def formula(self) -> str:
        """In words where several families speak."""
        if len(self.members) == 1:
            return self.members[0].formula
        told = ", ".join(f"{each.name} {weight:.0%}" for each, weight in zip(self.members, self.weights, strict=True))
        return f"geometric mean of {told}"

    @property
    def drawn(self) -> int:
        """How many draws there are of every member."""
        return min(each.drawn for each in self.members)

    def finite(self, d: Any, s: Any) -> np.ndarray:
        """Where every member predicts a loss, from tokens D and D'."""
        return np.all([each.finite(d, s) for each in self.members], 0)

    def losses(
        self, n_params: Any, d_pretrain: Any, d_special: Any, domain: str, *,
        draws: bool = False, u_pretrain: Any = None, u_special: Any = None, alone: bool = False,
    ) -> np.ndarray:
        """Predicted loss of a domain, [points], or [draws, points]; infinite where a member cannot predict.

        Asked `alone` a domain is also corrected by what it has beyond the others, which cancels in their mean.
        """
        d, s = (np.atleast_1d(np.asarray(part, float)) for part in (d_pretrain, d_special))
        out = self._plain(n_params, d, s, domain, draws, u_pretrain, u_special)
        if self.correction is None:
            allowed = self.allowance if draws else None
            return out if allowed is None else out * self._factor(allowed, n_params, d, s, draws)
        if alone:
            out = out * np.exp(self.correction.at(n_params, d, s, draws=draws, domain=domain))
        return out * self._factor(self.correction, n_params, d, s, draws)

    def _factor(self, misfit: Correction, n: Any, d: np.ndarray, s: np.ndarray, draws: bool) -> np.ndarray:
        """By a misfit; the last one is kept, for whoever asks all domains asks the same points of each."""
        points = [np.asarray(n, float), d, s, np.asarray(draws)]
        if not self._latest or not all(map(np.array_equal, points, self._latest[0])):
            self._latest[:] = [points, np.exp(misfit.at(n, d, s, draws=draws))]
        return self._latest[1]

    @cached_property
    def _latest(self) -> list[Any]:
        return []

    def _plain(
        self, n: Any, d: np.ndarray, s: np.ndarray, domain: str, draws: bool, u_pretrain: Any, u_special: Any
    ) -> np.ndarray:
        """What the members say, uncorrected.

        Draws of a law whose misfit is told are means over the members too: the misfit stands for what a form gets
        wrong. Where none is told the members themselves stand for it, and each draw is that of one of them.
        """
        each = [member.losses(n, d, s, domain, draws=draws, u_pretrain=u_pretrain, u_special=u_special)
                for member in self.members]
        if draws and self.correction is None:
            return np.stack(each)[self._speaker, np.arange(self.drawn)]
        return mean_of(each, self.weights)

    @cached_property
    def _speaker(self) -> np.ndarray:
        """Which member says each draw, in proportion to the weights, [draws]."""
        ends = np.round(np.cumsum(self.weights) * self.drawn)
        order = np.random.default_rng(0).permutation(self.drawn)
        return np.minimum(np.searchsorted(ends, order, side="right"), len(self.members) - 1)

    @cached_property
    def uncorrected(self) -> np.ndarray:
        """What the members say of every row fitted, [rows]."""
        return mean_of([each.on(self.table) for each in self.members], self.weights)

    @cached_property
    def apart(self) -> np.ndarray:
        """Rows that stand out from the law: a mask."""
        return apart(self.table, self.uncorrected)

    @cached_property
    def correction(self) -> Correction | None:
        """What the residuals of whole runs say of the law's misfit; None where they are noise."""
        return correction_of(
            self.table, self._seen & ~self.apart, self.uncorrected, self._drawn_on_rows, follow=self._followed
        )

    def pulled(self, draws: int, rng: np.random.Generator) -> np.ndarray | None:
        """By how much another fall of the misfit would pull a fit, [draws, rows fitted]; None where none is told."""
        if self.correction is None:
            return None
        runs = Runs.of_table(self.table, self._seen & ~self.apart)
        return pulled(self.correction, self.table, self._seen, runs, self._followed(runs), draws, rng)

    def _followed(self, runs: Runs) -> np.ndarray:
        return runs.followed([each.slopes(self.table) for each in self.members], self.weights)

    @cached_property
    def allowance(self) -> Correction | None:
        """A misfit for the draws alone, where the runs are too few to have shown one; None where it is told."""
        if self.correction is not None or not self.drawn:
            return None
        return allowance_of(self.table, self._seen & ~self.apart, self.uncorrected, self._followed, self.drawn)

    @cached_property
    def _drawn_on_rows(self) -> np.ndarray | None:
        """What the draws say of every row fitted, [draws, rows]; None where there are none."""
        if not self.drawn:
            return None
        return mean_of([each.on(self.table, draws=True) for each in self.members], self.weights)

    @property
    def _seen(self) -> np.ndarray:
        return np.isfinite(self.uncorrected) & (self.table.weight > 0)

    @property
    def n(self) -> int:
        """Rows that the members were fitted to."""
        return int(self._seen.sum())

    @property
    def mre(self) -> float:
        """Mean relative error on those rows, before any correction."""
        at = self._seen
        return float(np.abs(self.uncorrected[at] / self.table.loss[at] - 1.0).mean())

    @property
    def r2(self) -> float:
        """Explained variance of those rows that do not stand out, before any correction."""
        at = self._seen & ~self.apart
        return explained(self.table.loss[at], self.uncorrected[at])

    def told_apart(self) -> list[str]:
        """The rows that stand out, in words: by run where the table has runs, the worst first."""
        t = self.table
        off = np.where(self.apart, t.loss / np.where(self.apart, self.uncorrected, 1.0) - 1.0, 0.0)
        words = []
        for row in np.argsort(-np.abs(np.log1p(off)), kind="stable")[: int(self.apart.sum())]:
            words.append(f"{t.place(int(row))}{f' ({t.domain[row]})' if t.domain[row] else ''} by {off[row]:+.0%}")
        return words

    def on(self, table: Table) -> np.ndarray:
        """Predicted loss of every row of a table; infinite where a member or its domains cannot predict."""
        out = mean_of([each.on(table) for each in self.members], self.weights)
        if self.correction is None:
            return out
        points = (table.n_params, table.d_pretrain, table.d_special)
        off = self.correction.at(*points)
        for domain in table.domains:
            at = table.domain == domain
            off[at] += self.correction.at(*(part[at] for part in points), domain=domain)
        return out * np.exp(off)


def mean_of(predicted: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Weighted geometric mean of predictions."""
    logs = [weight * np.log(np.maximum(each, 1e-300)) for each, weight in zip(predicted, weights, strict=True)]
    return np.exp(np.sum(logs, 0))


def apart(table: Table, predicted: np.ndarray) -> np.ndarray:
    """Rows whose residual is far outside the others', by their median: a mask."""
    at = np.isfinite(predicted) & (table.weight > 0)
    residual = np.where(at, np.log(table.loss / np.where(at, predicted, 1.0)), 0.0)
    common = 1.4826 * float(np.median(np.abs(residual[at]))) if at.any() else 0.0
    return np.abs(residual) > max(APART * common, 0.02)
