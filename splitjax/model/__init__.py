"""Floor 2: the transformer, its loss, its counts, the names of its axes.

Enters: functions of parameters and tokens, attention back ends, FLOPs and parameters, Hugging Face's names for them.
Does not enter: an expert axis (a stack is made around the model), data, an optimiser, a mesh of a run.
"""

from splitjax.config.hf_shape import model_of_config

from .attention import documents
from .axes import logical_axes
from .counts import flops_per_token, n_params, n_params_total, state_bytes
from .huggingface import (
    architecture,
    from_huggingface,
    huggingface_config,
    huggingface_tensors,
    to_huggingface,
)
from .language_model import LanguageModel, Params
from .width import Group

__all__ = [
    "Group",
    "LanguageModel",
    "Params",
    "architecture",
    "documents",
    "flops_per_token",
    "from_huggingface",
    "huggingface_config",
    "huggingface_tensors",
    "logical_axes",
    "model_of_config",
    "n_params",
    "n_params_total",
    "state_bytes",
    "to_huggingface",
]
