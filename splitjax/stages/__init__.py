"""Floor 10: the stages of a run in order, and the functions that the command line is.

Enters: what is done when, what each stage reads and leaves, and its `done` record. Does not enter: how a thing is
trained, scored, priced or shown; rooms below know that. A stage is a few lines that say which of them to ask.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .commands import evaluate, prepare, report, run, sweep, train
    from .opened import Run, open_run
    from .separate import ExpertsLeft

__all__ = ["ExpertsLeft", "Run", "evaluate", "open_run", "prepare", "report", "run", "sweep", "train"]

_HOME = {"ExpertsLeft": "separate", "Run": "opened", "open_run": "opened"}
_MODULES = ("commands", "sequence")


def __getattr__(name: str) -> Any:
    """Imported on first use: the child that prepares needs neither JAX nor what trains."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'commands')}"), name)
