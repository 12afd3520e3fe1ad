"""Floor 4: losses of K experts on K domains, routing, zero-shot tasks, and paired comparisons."""

from .compare import Gain, by_domain, gain, perplexity
from .routers import Router, Seen
from .saved_router import Choice, PromptRouter, SavedRouter
from .scorer import Scorer
from .scores import Scores, all_losses, own_losses, score
from .served import Served

__all__ = [
    "Choice", "Gain", "PromptRouter", "Router", "SavedRouter", "Scorer", "Scores", "Seen", "Served", "all_losses",
    "by_domain", "gain", "own_losses", "perplexity", "score",
]
