"""Floor 5: stages, the tree of phases, plan and report. The command line is a thin layer over these functions."""

from .apart import ExpertsLeft
from .closing import closing_table
from .compiling import compile_step
from .exporting import export
from .job import Job
from .main import evaluate, prepare, report, run, sweep, train
from .pricing import price
from .state import status

__all__ = [
    "ExpertsLeft", "Job", "closing_table", "compile_step", "evaluate", "export", "prepare", "price", "report", "run",
    "status", "sweep", "train",
]  # fmt: skip
