"""Floor 5: stages, the tree of phases, plan and report. The command line is a thin layer over these functions."""

from .closing import closing_table
from .exporting import export
from .job import Job
from .main import evaluate, prepare, report, run, sweep, train
from .state import status

__all__ = ["Job", "closing_table", "evaluate", "export", "prepare", "report", "run", "status", "sweep", "train"]
