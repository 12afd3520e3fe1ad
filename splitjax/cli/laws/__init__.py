"""Laws on the command line: fits of any table, questions to any law. What people typed comes in, text goes out."""

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
