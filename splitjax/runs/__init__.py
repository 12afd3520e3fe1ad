"""Floor 5: a run folder, the tree of phases in it, and training each phase once.

Enters: cells and the phases that train them, the folder and its records, what a phase tells while it trains, and the
workers that train phases side by side. Does not enter: prices, scores of a finished run, pages, the order of stages.
"""

from .job import Job
from .reporter import Reporter
from .run_folder import RunFolder

__all__ = ["Job", "Reporter", "RunFolder"]
