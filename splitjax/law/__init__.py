"""Floor 1: what small runs say of large ones. A table of losses → a law → the split point, with its uncertainty.

Enters: anything that a table of N, D, D' and losses can answer. Does not enter: models, data, devices, run folders.
Bottom up: `drawing` (pictures of plain values), `tables` (rows and their language), `fitting` (families, solver, draws)
and `splitting` (budgets and decisions).
"""

from .fitting.engine import repeated
from .fitting.families import FAMILIES, Family, Parameter, exponent, scale
from .fitting.fit import fit
from .fitting.fitted import Fitted
from .fitting.law_fit import LawFit
from .fitting.profile import Profile, profile
from .splitting.budget import Budget
from .splitting.design import Design, NextRun, next_run, propose
from .splitting.plan import Curve, SplitPlan, choose_size, plan
from .splitting.prediction import OneModel, Prediction, plan_one_model, predict, size_one_model
from .splitting.prior import Cell
from .splitting.trial import Measured, Trial, best_constant, trial
from .tables.sheet import is_table
from .tables.table import Table

__all__ = [
    "FAMILIES", "Budget", "Cell", "Curve", "Design", "Family", "Fitted", "LawFit", "Measured", "NextRun",
    "OneModel", "Parameter", "Prediction", "Profile", "SplitPlan", "Table", "Trial", "best_constant", "choose_size",
    "exponent", "fit", "is_table", "next_run", "plan", "plan_one_model", "predict", "profile", "propose", "repeated",
    "scale", "size_one_model", "trial",
]
