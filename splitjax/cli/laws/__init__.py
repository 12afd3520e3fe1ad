"""Laws at the command line: fits of any table, questions to any law.

Enters: options that several commands share, what was typed, and text of plain values. Does not enter: a command of its
own.
"""

from .law_asked import (
    add_plan_arguments,
    add_predict_arguments,
    add_question_arguments,
    first_runs,
    plan_again,
    plan_law,
    predict_loss,
)
from .law_fits import add_fit_arguments, fit_table, tell_fit
from .law_text import run_plan_text

__all__ = [
    "add_fit_arguments",
    "add_plan_arguments",
    "add_predict_arguments",
    "add_question_arguments",
    "first_runs",
    "fit_table",
    "plan_again",
    "plan_law",
    "predict_loss",
    "run_plan_text",
    "tell_fit",
]
