"""Floor 10: the stages of a run in order, and the functions that the command line is.

Enters: what is done when, what each stage reads and leaves, and its `done` record. Does not enter: how a thing is
trained, scored, priced or shown; rooms below know that. A stage is a few lines that say which of them to ask.
"""

from .commands import evaluate, prepare, report, run, sweep, train
from .opened import Run, open_run
from .separate import ExpertsLeft

__all__ = ["ExpertsLeft", "Run", "evaluate", "open_run", "prepare", "report", "run", "sweep", "train"]
