"""One loss of a law with its interval; and plans of a law of L(N, D) alone: what one model comes to, and how large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from splitjax.config import UserError, format_count

from ..fitting.fitted import percentiles
from ..fitting.law_fit import LawFit
from . import limits
from .best_size import best_size
from .budget import Budget, domain_weights
from .view import View


@dataclass(frozen=True)
class Prediction:
    """What a law says of one model.

    Attributes:
        loss: nats per token, of one domain or of the unweighted mean over all.
        interval: 90 %, over the draws of the law and of its correction; the loss itself where there are none.
        family: whose loss it is: "combined", or one family's.
        by_family: family that is combined → what it says alone, uncorrected: its predicted_loss, interval.
        n_params, d_pretrain, d_special: N, D, D'.
        domain: None for the mean.
        notes: what a reader must know, one sentence each.
    """

    loss: float
    interval: tuple[float, float]
    family: str
    by_family: Mapping[str, Mapping[str, Any]]
    n_params: float
    d_pretrain: float
    d_special: float
    domain: str | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The `--json` of `splitjax predict`."""
        return {
            "predicted_loss": self.loss, "interval": list(self.interval), "family": self.family,
            "by_family": {name: dict(told) for name, told in self.by_family.items()},
            "n_params": self.n_params, "d_pretrain": self.d_pretrain, "d_special": self.d_special,
            "domain": self.domain, "notes": list(self.notes),
        }


def predict(
    law: LawFit,
    n_params: float,
    d_pretrain: float,
    d_special: float = 0.0,
    domain: str | None = None,
    *,
    family: str | None = None,
    weights: Mapping[str, float] | None = None,
    extrapolate: bool = False,
    u_pretrain: float | None = None,
    u_special: float | None = None,
) -> Prediction:
    """The loss that a model would have, with an interval that knows noise and misfit.

    Args:
        law: a fitted law.
        n_params: N, non-embedding parameters.
        d_pretrain, d_special: D and D', tokens.
        domain: a domain of the table; None for the mean.
        family: ask this family alone, uncorrected.
        weights: domain → weight in the mean; None weighs all alike.
        extrapolate: allow N, D or D' over 30 times outside the fitted range.
        u_pretrain, u_special: unique tokens among D and D', for laws of repeated data.

    Raises:
        UserError: no such domain or family, no D' in the law, tokens that no family can predict, or too far outside.
    """
    n, d, s = float(n_params), float(d_pretrain), float(d_special)
    if not (0 < n < np.inf and 0 <= d < np.inf and 0 <= s < np.inf and d + s > 0):
        raise UserError("N must be positive, D and D' 0 or more and not both 0", where="predict")
    if s and not law.table.has_special:
        raise UserError("the law has no D': its table had no d_special column", where="d_special", mend="Leave it out.")
    law.check_n(n)
    asked = {"n_params": n, "d_pretrain": d, "d_special": s, "tokens": d + s}
    limits.refuse_far(law.table, asked, extrapolate)
    mean = domain_weights(law.domains, weights if domain is None else {domain: 1.0})
    budget = Budget(n, d + s, 1, "per_model", u_pretrain, u_special)
    view = _speaker(law, View(law.chosen if family is None else law.named(family), budget, mean), d, s)
    first, by_family = _word(view, d, s), {}
    if family is None:
        words = {name: _word(View(law.named(name), budget, mean), d, s) for name in law.weights}
        by_family = {name: word for name, word in words.items() if np.isfinite(word["predicted_loss"])}
    low, high = first["interval"]
    return Prediction(
        first["predicted_loss"], (low, high), view.law.name, by_family, n, d, s, domain, tuple(_notes(law, view, asked))
    )


def _speaker(law: LawFit, view: View, d: float, s: float) -> View:
    """The view asked for, or where the combined law is infinite that of the best family that is not."""
    others = (View(each, view.budget, view.weights) for each in law.families if view.law is law.chosen)
    for each in (view, *others):
        if np.isfinite(each.at(np.array([d]), np.array([s]))).all():
            return each
    who = "no family of this law predicts" if view.law is law.chosen else f"{view.law.name} does not predict"
    raise UserError(f"{who} a loss at D = {format_count(d)}, D' = {format_count(s)}", where="predict",
                    mend="Add runs of that kind, so that a family that can is fitted.")


def _word(view: View, d: float, s: float) -> dict[str, Any]:
    """Loss and interval."""
    loss, draws = (view.at(np.array([d]), np.array([s]), draws=draws)[:, 0] for draws in (False, True))
    return {"predicted_loss": float(loss[0]), "interval": percentiles(draws)}


def _notes(law: LawFit, view: View, asked: Mapping[str, float]) -> list[str]:
    # Of one model T is D + D'; what lies outside in D or D' says more.
    notes = limits.told(law.table, {key: value for key, value in asked.items() if key != "tokens"})
    if not law.beats_mean:
        notes.append("No family predicts held-out rows better than their mean does: this loss is a guess.")
    if not view.law.drawn:
        who = "The law" if view.law is law.chosen else view.law.name
        notes.append(f"{who} has no bootstrap draws: the intervals are points.")
    return notes


UNKNOWN = "The law has no D' (its table had no d_special column): it cannot say whether to split, or where."


@dataclass(frozen=True)
class OneModel:
    """What a law of L(N, D) says of a budget.

    Attributes:
        prediction: the loss at N and T, with its interval.
        notes: what a reader must know, one sentence each; the first says that a split is not known.
        n_interval: 90 % interval of N, where N was chosen too.
    """

    prediction: Prediction
    notes: tuple[str, ...]
    n_interval: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The `--json` of `splitjax plan --law` for such a law: what a split's plan says, with nothing of the split."""
        found = self.prediction
        size = {"n_params_interval": list(self.n_interval)} if self.n_interval else {}
        return {
            "decision": None, "split_fraction": None, "d_pretrain": round(found.d_pretrain), "d_special": 0,
            "predicted_loss": found.loss, "loss_interval": list(found.interval), "family": found.family,
            "by_family": {name: dict(told) for name, told in found.by_family.items()},
            "n_params": found.n_params, **size, "tokens": found.d_pretrain, "experts": 1, "notes": list(self.notes),
        }


def plan_one_model(
    law: LawFit, n_params: float, tokens: float, weights: Mapping[str, float] | None = None, extrapolate: bool = False,
    *, u_pretrain: float | None = None,
) -> OneModel:
    """The loss of one model of N parameters after T tokens.

    Args:
        law: a fitted law without D'.
        n_params: N, non-embedding parameters.
        tokens: T.
        weights: domain → weight in the mean; None weighs all alike.
        extrapolate: allow N or T over 30 times outside the fitted range.
        u_pretrain: unique tokens among T, for laws of repeated data.

    Raises:
        UserError: the law has D' (then `plan` says more), or what `predict` refuses.
    """
    if law.table.has_special:
        raise UserError("the law has a D'", where="law", mend="Ask for a split.")
    law.check_worth()
    limits.refuse_far(law.table, {"n_params": n_params, "tokens": tokens}, extrapolate)
    found = predict(law, n_params, tokens, weights=weights, extrapolate=extrapolate, u_pretrain=u_pretrain)
    as_d = limits.told(law.table, {"n_params": n_params, "d_pretrain": tokens})  # of one model D is T
    outside = limits.told(law.table, {"n_params": n_params, "tokens": tokens})
    return OneModel(found, (UNKNOWN, *outside, *(note for note in found.notes if note not in as_d)))


def size_one_model(
    law: LawFit, flops: float, weights: Mapping[str, float] | None = None, extrapolate: bool = False,
    *, flops_per_token: float = 6.0, u_pretrain: float | None = None,
) -> OneModel:
    """The N, and T with it, of the least loss for which ``flops_per_token · N · T = flops``.

    Args:
        law: a fitted law without D'.
        flops: training FLOPs.
        weights, extrapolate, u_pretrain: as for `plan_one_model`.
        flops_per_token: training FLOPs per parameter and token.

    Raises:
        UserError: no N within reach of the law spends so much, or what `plan_one_model` refuses.
    """
    mean, work = domain_weights(law.domains, weights), flops / flops_per_token

    def least(n: float, draws: bool) -> np.ndarray:
        budget = Budget(n, work / n, 1, "per_model", u_pretrain)
        return View(law.chosen, budget, mean).loss(np.array([1.0]), draws=draws)[:, 0]

    n, interval = best_size(law.table, work, least, extrapolate)
    found = plan_one_model(law, n, work / n, weights, extrapolate, u_pretrain=u_pretrain)
    return replace(found, n_interval=interval)
