"""Floor 2: the transformer, its loss, its counts, the names of its axes. Knows no data, no optimiser."""

from .attention import documents
from .axes import logical_axes
from .counts import flops_per_token, n_params, n_params_total
from .language_model import LanguageModel, Params
from .width import Group

__all__ = [
    "Group",
    "LanguageModel",
    "Params",
    "documents",
    "flops_per_token",
    "logical_axes",
    "n_params",
    "n_params_total",
]
