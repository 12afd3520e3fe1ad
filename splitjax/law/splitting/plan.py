"""Where to split: the least predicted loss under a budget, with its interval, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splitjax.config import UserError, did_you_mean, format_count

from ..fitting.fitted import Fitted, percentiles
from ..fitting.law_fit import LawFit
from .view import GRID, Accounting, Budget, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXTRAPOLATION = 30.0
"""N and T may lie this many times outside the fitted range."""
AS_GOOD = 1e-3
"""Splits that cost less than this share of the loss are as good."""
WIDE, SURE = 0.5, 0.95
"""An interval wider than WIDE of T decides nothing, unless the split beats the dense model in this share of draws."""
_CURVE = np.linspace(0, 1, 201)


@dataclass(frozen=True, eq=False)
class Curve:
    """Predicted loss over the split fraction D/T; infinite where the law cannot predict.

    `low` and `high` bound the 90 % band of the bootstrap draws; equal to `loss` where there are none.
    """

    fraction: np.ndarray
    loss: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """The decision, made before the main run starts.

    Attributes:
        decision: "split"; "never_split" (D* = T: train one model); "split_at_once" (D* = 0: experts from step 0);
            "undetermined" where the interval is wider than half of T and the split does not beat the dense model in
            95 % of draws. The numbers below hold for all of them.
        split_fraction: D*/T.
        d_pretrain, d_special: D* and D'* (per expert), tokens.
        predicted_loss: weighted mean over domains at the split, nats per token.
        interval: 90 % interval of the split fraction, over the draws of the combined law and of its correction.
        loss_interval: the same for the predicted loss at the split.
        flat_region: fractions around the split that cannot be told from it: they cost more than 0.1 % in fewer than
            95 % of the draws of the difference.
        baselines: name → family that predicts it, split_fraction, d_pretrain, d_special, and predicted_loss, interval
            (None if not predictable); beaten: share of draws in which the split is better.
        per_domain: domain → its own best split_fraction, interval, and predicted_loss there.
        by_family: family → its split_fraction, interval, predicted_loss when it speaks alone, and its weight.
        marginal: loss per token of budget, if spent on the mixture or on the domains; equal at an interior split.
        curve: predicted loss over the split fraction.
        notes: what a reader must know, one sentence each.
        n_interval: 90 % interval of N, where N was chosen too.
    """

    decision: Literal["split", "never_split", "split_at_once", "undetermined"]
    split_fraction: float
    d_pretrain: float
    d_special: float
    predicted_loss: float
    interval: tuple[float, float]
    loss_interval: tuple[float, float]
    flat_region: tuple[float, float]
    baselines: Mapping[str, Mapping[str, Any]]
    per_domain: Mapping[str, Mapping[str, Any]]
    by_family: Mapping[str, Mapping[str, Any]]
    marginal: Mapping[str, float]
    budget: Budget
    family: str
    curve: Curve
    notes: tuple[str, ...]
    n_interval: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The `--json` of `splitjax plan --law`."""
        c = self.curve
        size = {"n_params_interval": list(self.n_interval)} if self.n_interval else {}
        return {
            "decision": self.decision,
            "split_fraction": self.split_fraction,
            "d_pretrain": round(self.d_pretrain),
            "d_special": round(self.d_special),
            "predicted_loss": self.predicted_loss,
            "interval": list(self.interval),
            "loss_interval": list(self.loss_interval),
            "flat_region": list(self.flat_region),
            "baselines": {name: dict(value) for name, value in self.baselines.items()},
            "per_domain": {name: dict(value) for name, value in self.per_domain.items()},
            "by_family": {name: dict(value) for name, value in self.by_family.items()},
            "marginal": {name: value if np.isfinite(value) else None for name, value in self.marginal.items()},
            "family": self.family,
            "n_params": self.budget.n_params,
            **size,
            "tokens": self.budget.tokens,
            "experts": self.budget.experts,
            "accounting": self.budget.accounting,
            "curve": {name: _listed(getattr(c, name)) for name in ("fraction", "loss", "low", "high")},
            "notes": list(self.notes),
        }

    def plot(self) -> Figure:
        """Predicted loss over the split fraction, with interval, flat region and baselines."""
        from ..drawing.plan_plot import PlanPicture, draw_plan

        b, c = self.budget, self.curve
        asked = f"N = {format_count(b.n_params)}, T = {format_count(b.tokens)} ({b.accounting}), K = {b.experts}"
        known = {name: self.baselines[name] for name in ("dense", "80/20", "split_at_0")}
        rivals = {
            name: (each["split_fraction"], each["predicted_loss"])
            for name, each in known.items()
            if each["predicted_loss"] is not None
        }
        picture = PlanPicture(
            f"{self.decision}: {asked}", self.family, c.fraction, c.loss, c.low, c.high, self.split_fraction,
            self.predicted_loss, self.interval, self.flat_region, rivals,
        )
        return draw_plan(picture)


def plan(
    law: LawFit,
    n_params: float,
    tokens: float,
    experts: int,
    accounting: Accounting = "total",
    weights: Mapping[str, float] | None = None,
    extrapolate: bool = False,
    *,
    u_pretrain: float | None = None,
    u_special: float | Mapping[str, float] | None = None,
    before: float = 0.0,
) -> SplitPlan:
    """Pick the split D* that minimises the weighted mean of predicted domain losses.

    Args:
        law: a fitted law.
        n_params: N of the main model, non-embedding parameters.
        tokens: T under `accounting`.
        experts: K.
        accounting: "total": T = D + K·D'; "per_model": T = D + D'.
        weights: domain → weight in the mean; None weighs all alike.
        extrapolate: allow N or T over 30 times outside the fitted range.
        u_pretrain, u_special: unique tokens of the mixture and of each domain (one number, or by domain), for laws
            fitted to repeated data; None where the data never repeat.
        before: tokens that the seed had seen before this budget, as the table's D counts them.

    Raises:
        UserError: N or T too far outside, a law that predicts no better than the mean, or no such domain.
    """
    asked = Budget(float(n_params), float(tokens), int(experts), accounting, u_pretrain, u_special, float(before))
    budget = _checked(law, asked)
    _refuse_guesses(law, budget, extrapolate)
    mean = domain_weights(law, weights)
    view = View(law.chosen, budget, mean)
    told = view.told()
    best, interval = told["split_fraction"], _pair(told["interval"])
    at = np.array([best])
    baselines = _baselines(view, best)
    d, s = (float(part[0]) for part in budget.spend(at))
    by_family = {family.name: _word(law, family, budget, mean) for family in law.families}
    return SplitPlan(
        decision=_decision(best, interval, baselines["dense"]["beaten"]),
        split_fraction=best, d_pretrain=d - budget.before, d_special=s, predicted_loss=told["predicted_loss"],
        interval=interval, loss_interval=_pair(percentiles(view.loss(at, draws=True)[:, 0])),
        flat_region=_flat(view, best), baselines=baselines,
        per_domain={name: View(law.chosen, budget, {name: 1.0}).told() for name in mean},
        by_family=by_family, marginal=_marginal(view, best), budget=budget, family=law.family, curve=_curve(view),
        notes=_notes(law, view, by_family),
    )


def _pair(ends: Sequence[float]) -> tuple[float, float]:
    return float(ends[0]), float(ends[1])


def _word(law: LawFit, family: Fitted, budget: Budget, mean: Mapping[str, float]) -> dict[str, Any]:
    """What a family says alone, uncorrected; corners that it cannot predict are left out."""
    return {**View(family, budget, mean).told(), "weight": law.weights.get(family.name, 0.0)}


def _listed(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _checked(law: LawFit, budget: Budget) -> Budget:
    if budget.accounting not in ("total", "per_model"):
        raise UserError(f"no accounting '{budget.accounting}'", where="accounting", mend="Known: total, per_model.")
    if budget.experts < 1:
        raise UserError(f"{budget.experts} experts", where="experts", mend="Give 1 or more.")
    if not (0 < budget.tokens < np.inf and 0 < budget.n_params < np.inf):
        raise UserError("N and T must be positive", where="n_params, tokens")
    if not law.table.has_special:
        raise UserError("the law has no D': its table had no d_special column", where="law",
                        mend="A split needs runs that were specialised.")  # fmt: skip
    law.check_n(budget.n_params)
    return budget


def _refuse_guesses(law: LawFit, budget: Budget, extrapolate: bool) -> None:
    if not law.beats_mean:
        raise UserError("no family predicts held-out rows better than their mean does", where="law",
                        mend="Add runs, larger or less noisy, before planning with it.")  # fmt: skip
    for key, value, name in (("n_params", budget.n_params, "N"), ("tokens", budget.before + budget.tokens, "T")):
        low, high = law.ranges[key]
        times = max(value / high, low / value)
        if times > EXTRAPOLATION and not extrapolate:
            fitted = f"{format_count(low)} to {format_count(high)}"
            what = f"{name} = {format_count(value)} is {times:.0f} times outside the fitted {fitted}"
            raise UserError(what, where=key, mend="Add larger runs, or pass --extrapolate to plan anyway.")


def domain_weights(law: LawFit, weights: Mapping[str, float] | None) -> dict[str, float]:
    """Weights of the mean over domains, summing to 1; all alike where none are given.

    Raises:
        UserError: no such domain, or weights that are negative or all 0.
    """
    given = dict.fromkeys(law.domains, 1.0) if weights is None else dict(weights)
    for name, value in given.items():
        if name not in law.domains:
            raise UserError(f"no domain '{name}' in the law", where="weights", mend=did_you_mean(name, law.domains))
        if not 0 <= value < np.inf:
            raise UserError(f"weight {value} of '{name}'", where="weights", mend="Weights are 0 or more.")
    total = sum(given.values())
    if total <= 0:
        raise UserError("all weights are 0", where="weights")
    return {name: value / total for name, value in given.items() if value > 0}


def _decision(best: float, interval: tuple[float, float], beats_dense: float | None) -> Any:
    if interval[1] - interval[0] > WIDE and (beats_dense or 0.0) < SURE:
        return "undetermined"
    return {0.0: "split_at_once", 1.0: "never_split"}.get(best, "split")


def _flat(view: View, best: float) -> tuple[float, float]:
    """The stretch of fractions around the best that cannot be told from it.

    A split is told from the best where it costs more than 0.1 % in 95 % of draws: draws of the difference, in which
    what both have in common cancels.
    """
    grid = np.unique(np.append(GRID, best))
    losses = view.loss(grid, draws=True)
    at = int(np.searchsorted(grid, best))
    with np.errstate(invalid="ignore"):
        worse = (losses > losses[:, at : at + 1] * (1 + AS_GOOD)).mean(0) >= SURE
    low = high = at
    while low > 0 and not worse[low - 1]:
        low -= 1
    while high < len(grid) - 1 and not worse[high + 1]:
        high += 1
    return float(grid[low]), float(grid[high])


def _baselines(view: View, best: float) -> dict[str, dict[str, Any]]:
    budget = view.budget
    fractions = {"dense": 1.0, "80/20": 0.8, "split_at_0": 0.0}
    spends = {name: budget.spend(np.array([f])) for name, f in fractions.items()}
    d, s = budget.spend(np.array([best]))
    ours = view.at(d, s, draws=True)[:, 0]
    out = {}
    for name, fraction in fractions.items():
        out[name] = _baseline(view, fraction, *spends[name], ours if fraction != best else None)
    if budget.accounting == "per_model":
        out["dense_equal_compute"] = _baseline(view, 1.0, d + budget.experts * s, 0.0 * s, ours)
    return out


def _baseline(
    view: View, fraction: float, d: np.ndarray, s: np.ndarray, ours: np.ndarray | None
) -> dict[str, Any]:
    """A rival at D and D'; `beaten` is the share of draws in which the split, whose losses are `ours`, is better."""
    loss, draws = float(view.at(d, s)[0, 0]), view.at(d, s, draws=True)[:, 0]
    known = bool(np.isfinite(loss))
    return {
        "family": view.law.name, "split_fraction": fraction,
        "d_pretrain": round(float(d[0]) - view.budget.before), "d_special": round(float(s[0])),
        "predicted_loss": loss if known else None, "interval": percentiles(draws) if known else None,
        "beaten": float((ours < draws).mean()) if known and ours is not None else None,
    }


def _marginal(view: View, best: float) -> dict[str, float]:
    """Loss gained per further token of budget, on the mixture or on the domains (shared by K under `total`)."""
    budget = view.budget
    d, s = (float(part[0]) for part in budget.spend(np.array([best])))
    share = budget.experts if budget.accounting == "total" else 1

    def slope(at: float, other: float, pretrain: bool) -> float:
        if at <= 0:
            return float("nan")
        points = at * np.array([1 - 1e-4, 1 + 1e-4])
        rest = np.full(2, other)
        a, b = (points, rest) if pretrain else (rest, points)
        loss = view.at(a, b)[0]
        return float((loss[0] - loss[1]) / (points[1] - points[0])) if np.isfinite(loss).all() else float("nan")

    return {"pretrain": slope(d, s, True), "special": slope(s, d, False) / share}


def _curve(view: View) -> Curve:
    loss = view.loss(_CURVE)[0]
    low, high = np.percentile(view.loss(_CURVE, draws=True), [5, 95], axis=0, method="nearest")
    return Curve(_CURVE, loss, low, high)


def _notes(law: LawFit, view: View, by_family: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    notes = []
    for fraction, name in ((1.0, "dense"), (0.0, "split_at_0")):
        if not np.isfinite(view.loss(np.array([fraction]))).all():
            notes.append(f"{law.family} does not predict {name}: that corner was not considered.")
    if len(by_family) > 1:
        told = ", ".join(f"{name} {each['split_fraction']:.0%}" for name, each in by_family.items() if each["weight"])
        notes.append(f"The families that are combined put the split at: {told}.")
    if law.chosen.correction:
        notes.append(f"The law is off by {law.chosen.correction.scale:.1%} in stretches that are no noise; it is "
                     "corrected near its rows, and the intervals allow for as much away from them.")
    if not view.law.drawn:
        notes.append("The law has no bootstrap draws: the intervals are points.")
    reach = view.budget.before + view.budget.tokens
    for key, value, name in (("n_params", view.budget.n_params, "N"), ("tokens", reach, "T")):
        if value > law.ranges[key][1]:
            notes.append(f"{name} lies {value / law.ranges[key][1]:.1f} times above the fitted range.")
    return tuple(notes)
