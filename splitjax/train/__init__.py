"""Floor 3: the optimiser, the step, the loop, checkpoints. Everything it trains is a stack.

Enters: what takes a stack from one path position to another, saves and restores it, and notices what goes wrong.
Does not enter: which phases a run has, why they end where they do, and what a finished model is worth.
"""

from . import checkpoint, starts
from .experts import finished, join, run_expert, run_phase
from .guards.early import EarlyStop
from .guards.interrupt import Interrupted
from .metrics import PER_EXPERT, read_metrics
from .phase import Phase, StepReport
from .schedule import decay_span, schedule
from .stack import Stack, concatenate, merge, path_tokens, pick
from .step import Controls, Metrics, Trainer, fastest_loop
from .times import CAUSES, listen_to_compiler, wall
from .together import Part, run_together
from .working_stack import working

__all__ = [
    "CAUSES", "PER_EXPERT", "Controls", "EarlyStop", "Interrupted", "Metrics", "Part", "Phase", "Stack", "StepReport",
    "Trainer", "checkpoint", "concatenate", "decay_span", "fastest_loop", "finished", "join", "listen_to_compiler",
    "merge", "path_tokens", "pick", "read_metrics", "run_expert", "run_phase", "run_together", "schedule", "starts",
    "wall", "working",
]
