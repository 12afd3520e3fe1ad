"""Floor 1: law families, fitting, selection, uncertainty, the split point. Takes a table; knows no model or data."""

from .families import FAMILIES, Family, Parameter, exponent, scale
from .fit import fit
from .law import Fitted, LawFit
from .plan import Budget, Curve, SplitPlan, plan
from .table import Table

__all__ = [
    "FAMILIES", "Budget", "Curve", "Family", "Fitted", "LawFit", "Parameter", "SplitPlan", "Table", "exponent", "fit",
    "plan", "scale",
]
