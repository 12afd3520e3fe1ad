"""Where to split: the least predicted loss under a budget, with its interval, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splitjax.config import Shown, UserError, format_count

from ..fitting.engine import repeated
from ..fitting.fitted import Fitted, percentiles
from ..fitting.law_fit import LawFit
from . import limits
from .best_size import best_size
from .budget import Accounting, Budget, domain_weights
from .notes import notes
from .rivals import baselines, better
from .view import GRID, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AS_GOOD = 1e-3
"""Splits that cost less than this share of the loss are as good."""
WIDE, SURE = 0.5, 0.95
"""An interval wider than WIDE of T decides nothing, unless the split beats the dense model in this share of draws."""
_CURVE = np.linspace(0, 1, 201)
_FRACTIONS = np.linspace(0, 1, 101)
"""Splits tried while N is chosen."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Predicted loss over the split fraction D/T; infinite where the law cannot predict.

    `low` and `high` bound the 90 % band of the bootstrap draws; equal to `loss` where there are none.
    """

    fraction: np.ndarray
    loss: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class SplitPlan(Shown):
    """The decision, made before the main run starts.

    Attributes:
        decision: "split"; "never_split" (D* = T: train one model); "split_at_once" (D* = 0: experts from step 0);
            "undetermined" where the interval is wider than half of T and the split does not beat the dense model in
            95 % of draws; "beaten" where a baseline is better than the split in most draws. The numbers below hold for
            all of them.
        split_fraction: D*/T.
        d_pretrain, d_special: D* and D'* (per expert), tokens.
        predicted_loss: weighted mean over domains at the split, nats per token.
        interval: of the split fraction: the shortest that holds 90 % of the draws, correction included.
        loss_interval: of the predicted loss at the split: the draws without the 5 % at either end.
        flat_region: fractions around the split that cannot be told from it: they cost more than 0.1 % in fewer than
            95 % of the draws of the difference.
        baselines: name → family that predicts it, split_fraction, d_pretrain, d_special, and predicted_loss, interval
            (None if not predictable); beaten: share of draws in which the split is better; beyond: whether that loss is
            above all that the law was fitted to.
        per_domain: domain → its own best split_fraction, interval, and predicted_loss there.
        by_family: family → its split_fraction, interval, predicted_loss when it speaks alone, and its weight.
        marginal: loss per token of budget, if spent on the mixture or on the domains; equal at an interior split.
        curve: predicted loss over the split fraction.
        notes: what a reader must know, one sentence each.
        n_interval: 90 % interval of N, where N was chosen too.
    """

    decision: Literal["split", "never_split", "split_at_once", "undetermined", "beaten"]
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

    def _headline(self) -> str:
        low, high = self.interval
        return (f"Plan: {self.decision}, {self.split_fraction:.1%} of {format_count(self.budget.tokens)} tokens before "
                f"the split (90 % {low:.1%} to {high:.1%}), predicted loss {self.predicted_loss:.4f}")

    def _columns(self) -> dict[str, list[Any]]:
        c = self.curve
        return {name: _listed(getattr(c, name)) for name in ("fraction", "loss", "low", "high")}

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
            limits.words(name): (each["split_fraction"], each["predicted_loss"])
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
        extrapolate: allow N, T, D or D' over 30 times outside the fitted range (N over 1,000 times, where the table
            has runs at T with three splits).
        u_pretrain, u_special: unique tokens of the mixture and of each domain (one number, or by domain), for laws
            fitted to repeated data; None where the data never repeat.
        before: tokens that the seed had seen before this budget, as the table's D counts them.

    Raises:
        UserError: N, T, D or D' too far outside, a law that predicts no better than the mean, or no such domain.
    """
    asked = Budget(float(n_params), float(tokens), int(experts), accounting, u_pretrain, u_special, float(before))
    budget = _checked(law, asked)
    law.check_worth()
    far = {"n_params": budget.n_params, "tokens": budget.before + budget.tokens}
    limits.refuse_far(law.table, far, extrapolate, limits.furthest_n(law.table, budget))
    return _made(law, View(law.chosen, budget, domain_weights(law.domains, weights)), extrapolate)


def _made(law: LawFit, view: View, extrapolate: bool) -> SplitPlan:
    """The plan of a law along a budget."""
    budget, mean, told = view.budget, view.weights, view.told()
    best, interval, at = told["split_fraction"], tuple(told["interval"]), np.array([told["split_fraction"]])
    d, s = (float(part[0]) for part in budget.spend(at))
    limits.refuse_far(law.table, {"d_pretrain": d, "d_special": s}, extrapolate)
    rivals = baselines(law.family, view.at, budget, best, float(law.table.loss.max()))
    low, high = percentiles(view.loss(at, draws=True)[:, 0])
    by_family = {family.name: _word(law, family, budget, mean) for family in law.families}
    return SplitPlan(
        decision=_decision(best, interval, rivals["dense"]["beaten"], better(rivals)),
        split_fraction=best, d_pretrain=d - budget.before, d_special=s, predicted_loss=told["predicted_loss"],
        interval=interval, loss_interval=(low, high), flat_region=_flat(view, best), baselines=rivals,
        per_domain={name: View(law.chosen, budget, {name: 1.0}).told() for name in mean if mean[name]},
        by_family=by_family, marginal=_marginal(view, best), budget=budget, family=law.family, curve=_curve(view),
        notes=_notes(law, budget, best, rivals, by_family),
    )


def choose_size(
    law: LawFit,
    flops: float,
    experts: int,
    weights: Mapping[str, float] | None = None,
    extrapolate: bool = False,
    *,
    flops_per_token: float = 6.0,
    u_pretrain: float | None = None,
    u_special: float | Mapping[str, float] | None = None,
) -> SplitPlan:
    """Pick N, D and D' with the least predicted loss for which ``flops_per_token · N · (D + K·D') = flops``.

    Args:
        law: a fitted law.
        flops: training FLOPs of all models together.
        experts: K.
        weights, extrapolate, u_pretrain, u_special: as for `plan`.
        flops_per_token: training FLOPs per parameter and token.

    Returns:
        The plan at the best N under `total` accounting, with a 90 % interval of N in `n_interval`.

    Raises:
        UserError: no N within reach of the law spends so much, or what `plan` refuses.
    """
    def budget(n: float) -> Budget:
        return Budget(float(n), flops / flops_per_token / float(n), experts, "total", u_pretrain, u_special)

    mean, work = domain_weights(law.domains, weights), flops / flops_per_token

    def least(n: float, draws: bool) -> np.ndarray:
        return View(law.chosen, budget(n), mean).loss(_FRACTIONS, draws=draws).min(1)

    chosen, interval = best_size(law.table, work, least, extrapolate)
    found = plan(law, chosen, budget(chosen).tokens, experts, "total", weights, extrapolate,
                 u_pretrain=u_pretrain, u_special=u_special)
    return replace(found, n_interval=interval)


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
                        mend="A split needs runs that were specialised.")
    law.check_n(budget.n_params)
    return budget


def _decision(best: float, interval: tuple[float, float], beats_dense: float | None, rival: str = "") -> Any:
    """In one word; `rival` is a baseline that is better in most draws."""
    if interval[1] - interval[0] > WIDE and (beats_dense or 0.0) < SURE:
        return "undetermined"
    if rival:
        return "beaten"
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


def _notes(law: LawFit, budget: Budget, best: float, rivals: Any, by_family: Any) -> tuple[str, ...]:
    found, allowed = law.chosen.correction, law.chosen.allowance
    return notes(
        law.table, budget, best, rivals, by_family, off=found.scale if found else None,
        allowed=allowed.scale if allowed else None, drawn=bool(law.chosen.drawn),
        repeats=repeated(law.table),
    )
