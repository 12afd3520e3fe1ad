"""Profile likelihood: how much worse the best fit becomes when one exponent is held at other values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from splitjax.config import UserError, did_you_mean

from .engine import Problem
from .families import family_named
from .law_fit import LawFit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHI2_90 = 2.705543
"""90 % quantile of chi-squared with one degree of freedom."""
_POINTS, LANES = 64, 32


@dataclass(frozen=True, eq=False)
class Profile:
    """Objective over values of a parameter, all others fitted anew at each.

    Attributes:
        parameter: name.
        values, objective: the profile; `objective` in units in which `threshold` above the least is the 90 % limit.
        best: the estimate.
        interval: values whose objective is below the limit; a side that reaches a bound of the parameter ends there.
        threshold: the limit's height above the least objective.
    """

    parameter: str
    values: np.ndarray
    objective: np.ndarray
    best: float
    interval: tuple[float, float]
    threshold: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "best": self.best, "interval": list(self.interval), "threshold": self.threshold,
            "values": self.values.tolist(), "objective": self.objective.tolist(),
        }

    def plot(self) -> Figure:
        """The profile with its limit."""
        from ..drawing.profile_plot import draw_profile

        rise = (self.objective - self.objective.min()) / self.threshold
        return draw_profile(self.parameter, self.best, self.values, rise, self.interval)


def profile(law: LawFit, parameter: str) -> Profile:
    """Profile likelihood of an exponent of the heaviest family.

    The limit is that of the likelihood-ratio test for M-estimators (Schrader and Hettmansperger 1980): twice the rise
    of the objective, times E[psi'] / E[psi^2] of the residuals, is chi-squared with one degree of freedom.

    Args:
        law: a fitted law.
        parameter: an exponent that all domains share.

    Raises:
        UserError: no such exponent, or domains that were fitted apart.
    """
    from .solver import Loss, refine

    first = law.families[0]
    form, problem = first.forms[0], Problem(law.table, family_named(first.name))
    gone = form.family.of_n if form.one_n else frozenset()
    known = [p.name for p in form.family.nonlinear if not p.scale and p.name not in gone]
    if parameter not in known:
        raise UserError(f"'{parameter}' is not an exponent here", where="profile", mend=did_you_mean(parameter, known))
    if len(first.forms) > 1:
        raise UserError("domains were fitted apart", where="profile", mend="Fit them jointly.")
    loss = Loss(law.settings["loss"], law.settings["delta"])
    at, x, part = int(form.index[0][form.names.index(parameter)]), first.xs[0], problem.parts[0]
    low, high = form.bounds
    threshold = CHI2_90 / 2 / _efficiency(problem, law, loss)
    reach = np.clip(x[at] + np.array([-0.5, 1.0]) * max(abs(x[at]), 0.05), low[at], high[at])
    data = problem.data(part, law.table.loss[None].repeat(LANES, 0), law.table.weight[None].repeat(LANES, 0))
    values, found = np.array([x[at]]), np.array([_objective(law, problem, loss)])
    for _ in range(2):  # the second sweep looks closely at the stretch that the first found
        grid = np.unique(np.append(np.linspace(reach[0], reach[1], _POINTS - 1), x[at]))[:_POINTS]
        new = np.empty(len(grid))
        for start in range(0, len(grid), LANES):
            piece = grid[start : start + LANES]
            lanes = [np.tile(part, (len(piece), 1)) for part in (x, low, high)]
            for lane in lanes:
                lane[:, at] = piece
            cut = data._replace(y=data.y[: len(piece)], w=data.w[: len(piece)])
            new[start : start + LANES] = refine(form, loss, cut, *lanes, anneal=8.0, steps=300)[1]
        values, found = np.append(values, grid), np.append(found, new)
        reach = _inside(values, found, threshold, margin=2.0)
    order = np.argsort(values, kind="stable")
    interval = _inside(values, found, threshold)
    return Profile(
        parameter, values[order], found[order], float(values[np.argmin(found)]), (interval[0], interval[1]), threshold
    )


def _objective(law: LawFit, problem: Problem, loss: Any) -> float:
    """Objective of the law's own solution under the loss that was minimised."""
    from .solver import objective

    data = problem.data(problem.parts[0], law.table.loss[None], law.table.weight[None])
    return float(objective(problem.parts[0].form, loss, data, law.families[0].xs[0][None])[0])


def _inside(values: np.ndarray, objective: np.ndarray, threshold: float, margin: float = 1.0) -> np.ndarray:
    """Ends of the stretch below the limit, between grid points by straight lines."""
    order = np.argsort(values, kind="stable")
    v, rise = values[order], objective[order] - objective.min() - margin * threshold
    best = int(np.argmin(rise))
    low = next((i for i in range(best, -1, -1) if rise[i] > 0), None)
    high = next((i for i in range(best, len(v)) if rise[i] > 0), None)
    left = v[0] if low is None else np.interp(0, [rise[low + 1], rise[low]], [v[low + 1], v[low]])
    right = v[-1] if high is None else np.interp(0, [rise[high - 1], rise[high]], [v[high - 1], v[high]])
    return np.array([left, right])


def _efficiency(problem: Problem, law: LawFit, loss: Any) -> float:
    """E[psi'] / E[psi^2] of the residuals; with a threshold far below the noise, psi' is the density at zero."""
    at, y = problem.usable & (law.table.weight > 0), law.table.loss
    predicted = problem.predict([x[None] for x in law.families[0].xs])[0]
    freedom = max(at.sum() - problem.n_free, 1) / at.sum()
    if loss.kind == "squared":
        return freedom / max(float(np.square(predicted[at] - y[at]).mean()), 1e-300)
    r = np.log(predicted[at] / y[at]) / np.sqrt(freedom)
    width = max(loss.delta, 1.06 * float(np.std(r)) * len(r) ** -0.2)
    density = float((np.abs(r) <= width).mean()) / width
    return max(density * loss.delta, 1e-300) / max(float(np.square(np.clip(r, -loss.delta, loss.delta)).mean()), 1e-300)
