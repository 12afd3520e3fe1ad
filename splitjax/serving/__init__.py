"""Floor 9: models that answer: those of a run, of an exported set, or of a folder from elsewhere.

Enters: loading models with their router and tokenizer, prompts and tasks put to them, and writing them out for others.
Does not enter: training, and what a run says of itself.
"""

from .answers import generate
from .export_set import export

__all__ = ["export", "generate"]
