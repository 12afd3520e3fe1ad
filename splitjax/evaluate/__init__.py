"""Floor 4: losses of K experts on K domains, routing, and paired comparisons."""

from .compare import Gain, gain
from .scores import Scores, own_losses, score

__all__ = ["Gain", "Scores", "gain", "own_losses", "score"]
