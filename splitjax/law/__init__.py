"""Floor 1: law families, fitting, selection, uncertainty, the split point. Takes a table; knows no model or data."""

from .design import Cell, Design, NextRun, next_run, propose
from .families import FAMILIES, Family, Parameter, exponent, scale
from .fit import fit
from .law import Fitted, LawFit
from .plan import Curve, SplitPlan, plan
from .profile import Profile, profile
from .size import choose_size
from .table import Table
from .trial import Measured, Trial, best_constant, trial
from .view import Budget

__all__ = [
    "FAMILIES", "Budget", "Cell", "Curve", "Design", "Family", "Fitted", "LawFit", "Measured", "NextRun",
    "Parameter", "Profile", "SplitPlan", "Table", "Trial", "best_constant", "choose_size", "exponent", "fit",
    "next_run", "plan", "profile", "propose", "scale", "trial",
]
