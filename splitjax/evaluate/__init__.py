"""Floor 4: what K models make of text: losses by domain, routing, tasks, generation, paired comparisons.

Enters: functions of models and text; routers, samplers, task files. Does not enter: where the models came from (a run
folder or an export), and how a figure is shown.
"""

from .compare import Gain, by_domain, gain, mean_and_error, perplexity
from .routers import Router, Seen
from .saved_router import Choice, PromptRouter, SavedRouter
from .scorer import Scorer
from .scores import Scores, all_losses, own_losses, own_losses_of, score
from .served import Served

__all__ = [
    "Choice", "Gain", "PromptRouter", "Router", "SavedRouter", "Scorer", "Scores", "Seen", "Served", "all_losses",
    "by_domain", "gain", "mean_and_error", "own_losses", "own_losses_of", "perplexity", "score",
]
