"""Where to split: the least predicted loss under a budget, with its interval, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splitjax.config import UserError, did_you_mean, format_count

from .law import Fitted, LawFit, percentiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Accounting = Literal["total", "per_model"]

EXTRAPOLATION = 30.0
"""N and T may lie this many times outside the fitted range."""
AS_GOOD = 1e-3
"""Splits whose loss is within this share of the least are as good."""
WIDE = 0.5
"""An interval wider than this share of T decides nothing."""
_NEAR_CORNERS = np.logspace(-9, -2.5, 200)
GRID = np.unique(np.concatenate([[0.0, 1.0], _NEAR_CORNERS, 1 - _NEAR_CORNERS, np.linspace(0, 1, 801)]))
_CURVE = np.linspace(0, 1, 201)
_NODES = np.unique(np.concatenate([[0.0, 1.0], _NEAR_CORNERS[::10], 1 - _NEAR_CORNERS[::10], np.linspace(0, 1, 101)]))
"""Where misfits are drawn; between them they are straight."""


@dataclass(frozen=True)
class Budget:
    """N, T, K and how T is counted; `before` are tokens behind the seed that no budget pays for."""

    n_params: float
    tokens: float
    experts: int
    accounting: Accounting
    u_pretrain: float | None = None
    u_special: float | Mapping[str, float] | None = None
    before: float = 0.0

    def unique(self, domain: str) -> tuple[float | None, float | None]:
        """Unique tokens of the mixture and of a domain; None where data are fresh."""
        special = self.u_special
        return self.u_pretrain, special.get(domain) if isinstance(special, Mapping) else special

    def spend(self, fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The law's D and D' (per expert) at fractions of T; D counts what is behind the seed."""
        share = self.experts if self.accounting == "total" else 1
        return self.before + fraction * self.tokens, (1.0 - fraction) * self.tokens / share


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
            "undetermined" where the interval is wider than half of T. The numbers below hold for all of them.
        split_fraction: D*/T.
        d_pretrain, d_special: D* and D'* (per expert), tokens.
        predicted_loss: weighted mean over domains at the split, nats per token.
        interval: 90 % interval of the split fraction, over the draws of all families near the best.
        loss_interval: the same for the predicted loss at the split.
        flat_region: fractions around the split whose loss is within 0.1 % of the least.
        baselines: name → family that predicts it, split_fraction, d_pretrain, d_special, and predicted_loss, interval
            (None if not predictable).
        per_domain: domain → its own best split_fraction, interval, and predicted_loss there.
        by_family: family near the best → its split_fraction, interval.
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
        from .plots import plot_plan

        return plot_plan(self)


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
    views = [View(law, law.named(name), budget, mean, misfit=True) for name in law.near]
    chosen = View(law, law.chosen, budget, mean, patched=True, misfit=True)
    views = [chosen, *(view for view in views if view.fitted is not chosen.fitted), *chosen.speakers(views)]
    best = chosen.best()[0]
    by_family = {view.fitted.name: view.told() for view in views}
    interval = _union([told["interval"] for told in by_family.values()])
    at = np.array([best])
    loss = float(chosen.loss(at)[0, 0])
    deciding = chosen.speaker_at(best)
    d, s = (float(part[0]) for part in budget.spend(at))
    return SplitPlan(
        decision=_decision(best, interval),
        split_fraction=best, d_pretrain=d - budget.before, d_special=s,
        predicted_loss=loss,
        interval=interval,
        loss_interval=_union([percentiles(view.loss(at, draws=True)[:, 0]) for view in views]),
        flat_region=_flat(deciding, best, loss),
        baselines=_baselines(chosen, best),
        per_domain={
            name: View(law, chosen.fitted, budget, {name: 1.0}, chosen.patched, chosen.misfit).told() for name in mean
        },
        by_family=by_family,
        marginal=_marginal(chosen, best),
        budget=budget, family=deciding.fitted.name, curve=_curve(deciding), notes=_notes(law, chosen, by_family, best),
    )  # fmt: skip


class View:
    """A family's loss as a function of the split fraction; its draws with the misfit of the family, where asked for."""

    def __init__(
        self, law: LawFit, fitted: Fitted, budget: Budget, weights: Mapping[str, float], patched: bool = False,
        misfit: bool = False,
    ) -> None:  # fmt: skip
        self.law, self.fitted, self.budget, self.weights, self.patched = law, fitted, budget, weights, patched
        self.misfit = misfit
        self._nodes: np.ndarray | None = None
        self.corners = {f: law.at_corner(fitted, f) for f in (0.0, 1.0)}
        if budget.before:
            self.corners[0.0] = fitted  # a seed that has seen tokens: D is not 0 there
        """Family that can speak for the corner: this one, or the best that can, or None."""

    def speakers(self, known: list[View]) -> list[View]:
        """Views of the families that speak for this one's corners, less those known: what decides must be told."""
        others = {family.name: family for family in self.corners.values() if family and family is not self.fitted}
        names = others.keys() - {view.fitted.name for view in known}
        return [self._of(others[name]) for name in sorted(names)]

    def _of(self, fitted: Fitted) -> View:
        """The same of another family, or of this one without what others say of its corners."""
        return View(self.law, fitted, self.budget, self.weights, misfit=self.misfit)

    def speaker_at(self, fraction: float) -> View:
        """The view whose family predicts this fraction: at a corner perhaps another's, whose curve leads there."""
        family = self.corners.get(fraction)
        return self if family is None or family is self.fitted else self._of(family)

    def loss(self, fraction: np.ndarray, *, draws: bool = False) -> np.ndarray:
        """Weighted mean loss, [draws, points] (one row for the estimate), at fractions [points] or [draws, points].

        Infinite at a corner that the family cannot predict, unless the view is patched with one that can.
        """
        out = self._loss(self.fitted, fraction, draws).copy()
        if not self.patched:
            return out
        fraction = np.broadcast_to(fraction, out.shape)
        for corner, family in self.corners.items():
            at = fraction == corner
            if family is not None and family is not self.fitted and at.any():
                value = self._loss(family, np.array([corner]), draws)
                out[at] = np.broadcast_to(value if len(value) == len(out) else value.mean(0), out.shape)[at]
        return out

    def _loss(self, fitted: Fitted, fraction: np.ndarray, draws: bool) -> np.ndarray:
        d, s = self.budget.spend(fraction)
        loss = mean_loss(fitted, self.budget, d, s, self.weights, draws)
        return loss * np.exp(self._off(fraction, len(loss))) if draws and fitted.draws else loss

    def off(self, d: np.ndarray, s: np.ndarray, count: int) -> np.ndarray:
        """Misfits at D and D', in log loss, [count, points]; 0 where there is none."""
        found = self.law.misfit(self.fitted) if self.misfit else None
        return np.zeros((1, len(d))) if found is None else found.draws(d, s, self.weights, count)

    def _off(self, fraction: np.ndarray, count: int) -> np.ndarray:
        """Misfits at fractions [points] or [draws, points], the same path of each draw whenever it is asked."""
        if self._nodes is None or len(self._nodes) not in (1, count):
            self._nodes = self.off(*self.budget.spend(_NODES), count)
        if len(self._nodes) == 1:
            return self._nodes[:, :1]
        right = np.clip(np.searchsorted(_NODES, fraction), 1, len(_NODES) - 1)
        share = (fraction - _NODES[right - 1]) / (_NODES[right] - _NODES[right - 1])
        low, high = (self._nodes[:, at] if at.ndim == 1 else np.take_along_axis(self._nodes, at, 1)
                     for at in (right - 1, right))  # fmt: skip
        return (1 - share) * low + share * high

    def best(self, *, draws: bool = False) -> np.ndarray:
        """Fraction with the least loss, [draws].

        A corner that another family speaks for is taken where that family puts it below this one's best and below its
        own loss there: the levels of two families differ by more than a corner differs from its neighbours, and a
        family that would itself not go to the corner does not send another one there.
        """
        own = self._of(self.fitted)
        best = best_fraction(lambda fraction: own.loss(fraction, draws=draws))
        if self.patched:
            least = own.loss(best[:, None], draws=draws)[:, 0]
            for corner, family in self.corners.items():
                if family is not None and family is not self.fitted:
                    there, here = (self._loss(family, at, draws)[:, 0] for at in (np.array([corner]), best[:, None]))
                    there, here = (x if len(x) == len(best) else np.full(len(best), x.mean()) for x in (there, here))
                    best = np.where((there < least) & (there < here), corner, best)
        return best

    def told(self) -> dict[str, Any]:
        """Best fraction, its interval, and the loss there."""
        best = float(self.best()[0])
        interval = percentiles(self.best(draws=True)) if self.fitted.draws else [best, best]
        loss = float(self.loss(np.array([best]))[0, 0])
        return {"split_fraction": best, "interval": interval, "predicted_loss": loss}


def best_fraction(loss: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Fraction with the least loss, [draws]: a grid that is dense near both corners, then zooms around its best.

    Args:
        loss: [draws, points] from fractions [points] or [draws, points].
    """
    values = loss(GRID)
    at = np.argmin(values, 1)
    best, least = GRID[at], np.take_along_axis(values, at[:, None], 1)[:, 0]
    low, high = GRID[np.maximum(at - 1, 0)], GRID[np.minimum(at + 1, len(GRID) - 1)]
    for _ in range(4):
        points = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, 17)
        values = loss(points)
        at = np.argmin(values, 1)[:, None]
        value, point = (np.take_along_axis(part, at, 1)[:, 0] for part in (values, points))
        best, least = np.where(value < least, point, best), np.minimum(value, least)
        low = np.take_along_axis(points, np.maximum(at - 1, 0), 1)[:, 0]
        high = np.take_along_axis(points, np.minimum(at + 1, 16), 1)[:, 0]
    return best


def mean_loss(
    fitted: Fitted, budget: Budget, d: np.ndarray, s: np.ndarray, weights: Mapping[str, float], draws: bool
) -> np.ndarray:
    """Weighted mean of domain losses at D and D', [draws, points]; the estimate where the family has no draws."""
    total: Any = 0.0
    for domain, weight in weights.items():
        u_d, u_s = (
            None if u is None else np.minimum(u, tokens)
            for u, tokens in zip(budget.unique(domain), (d, s), strict=True)
        )
        loss = fitted.losses(
            budget.n_params, d, s, domain, draws=draws and bool(fitted.draws), u_pretrain=u_d, u_special=u_s
        )
        total = total + weight * np.atleast_2d(loss)
    return np.asarray(total)


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


def _union(intervals: list[Any]) -> tuple[float, float]:
    return float(min(low for low, _ in intervals)), float(max(high for _, high in intervals))


def _decision(best: float, interval: tuple[float, float]) -> Any:
    if interval[1] - interval[0] > WIDE:
        return "undetermined"
    return {0.0: "split_at_once", 1.0: "never_split"}.get(best, "split")


def _flat(view: View, best: float, loss: float) -> tuple[float, float]:
    """The stretch of fractions around the best whose loss is within 0.1 % of it."""
    grid = np.unique(np.append(GRID, best))
    good = view.loss(grid)[0] <= loss * (1 + AS_GOOD)
    at = int(np.searchsorted(grid, best))
    low, high = at, at
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(grid) - 1 and good[high + 1]:
        high += 1
    return float(grid[low]), float(grid[high])


def _baselines(view: View, best: float) -> dict[str, dict[str, Any]]:
    budget = view.budget
    view = View(view.law, view.fitted, budget, view.weights, patched=True, misfit=view.misfit)
    fractions = {"dense": 1.0, "80/20": 0.8, "split_at_0": 0.0}
    spends = {name: budget.spend(np.array([f])) for name, f in fractions.items()}
    out = {}
    for name, fraction in fractions.items():
        losses = [view.loss(np.array([fraction]), draws=draws) for draws in (False, True)]
        d, s = spends[name]
        out[name] = _baseline(view.speaker_at(fraction).fitted.name, fraction, d - budget.before, s, *losses)
    if budget.accounting == "per_model":
        d, s = budget.spend(np.array([best]))
        equal = d + budget.experts * s
        family = view.corners[1.0] or view.fitted
        losses = [mean_loss(family, budget, equal, 0.0 * s, view.weights, draws) for draws in (False, True)]
        losses[1] = losses[1] * np.exp(view.off(equal, 0.0 * s, len(losses[1])))
        out["dense_equal_compute"] = _baseline(family.name, 1.0, equal - budget.before, 0.0 * s, *losses)
    return out


def _baseline(
    family: str, fraction: float, d: np.ndarray, s: np.ndarray, loss: np.ndarray, draws: np.ndarray
) -> dict[str, Any]:
    known = bool(np.isfinite(loss[0, 0]))
    return {
        "family": family, "split_fraction": fraction, "d_pretrain": round(float(d[0])), "d_special": round(float(s[0])),
        "predicted_loss": float(loss[0, 0]) if known else None,
        "interval": percentiles(draws[:, 0]) if known else None,
    }  # fmt: skip


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
        loss = mean_loss(view.fitted, budget, a, b, view.weights, False)[0]
        return float((loss[0] - loss[1]) / (points[1] - points[0])) if np.isfinite(loss).all() else float("nan")

    return {"pretrain": slope(d, s, True), "special": slope(s, d, False) / share}


def _curve(view: View) -> Curve:
    loss = view.loss(_CURVE)[0]
    low, high = np.percentile(view.loss(_CURVE, draws=True), [5, 95], axis=0, method="nearest")
    return Curve(_CURVE, loss, low, high)


def _notes(law: LawFit, view: View, by_family: Mapping[str, Mapping[str, Any]], best: float) -> tuple[str, ...]:
    notes = []
    for corner, name in ((1.0, "dense"), (0.0, "split_at_0")):
        family = view.corners[corner]
        if family is None:
            notes.append(f"No fitted family predicts {name}; that corner was not considered.")
        elif family is not view.fitted and view.patched:
            notes.append(f"{view.fitted.name} cannot predict {name}; {family.name} speaks for that corner.")
    if len(by_family) > 1:
        told = ", ".join(f"{name} {value['split_fraction']:.0%}" for name, value in by_family.items())
        notes.append(f"The families near the best, and those that speak for a corner, put the split at: {told}.")
    if view.fitted.draws and (found := law.misfit(view.fitted)):
        notes.append(f"{view.fitted.name} is off by {found.scale:.1%} on its own rows, in stretches that are no noise; "
                     "the intervals allow as much elsewhere.")  # fmt: skip
    if not view.fitted.draws:
        notes.append("The law has no bootstrap draws: the intervals are points.")
    reach = view.budget.before + view.budget.tokens
    for key, value, name in (("n_params", view.budget.n_params, "N"), ("tokens", reach, "T")):
        if value > law.ranges[key][1]:
            notes.append(f"{name} lies {value / law.ranges[key][1]:.1f} times above the fitted range.")
    return tuple(notes)
