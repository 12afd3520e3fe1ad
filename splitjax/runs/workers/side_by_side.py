"""Phases of one shape trained as lanes of one stack, and their cells measured in one pass."""

from __future__ import annotations

from collections.abc import Sequence

from splitjax.config import UserError, disk_errors, format_count
from splitjax.model import n_params
from splitjax.train import Stack, run_together

from ..executor import Executor
from ..phase_record import Losses
from ..phase_tree import Phase


def train_together(executor: Executor, phases: Sequence[Phase]) -> dict[str, Losses | UserError]:
    """Train what is not done of a group; the parents of all of them must be.

    Returns:
        By phase: validation losses of its cells, or why its end is refused.
    """
    measured: dict[str, Losses | UserError] = {}
    for phase in phases:
        if (known := executor.recorded(phase)) is not None:
            executor.skip(phase, len(phases))
            measured[phase.name] = known
    left = [phase for phase in phases if phase.name not in measured]
    if left:
        with disk_errors(executor.folder.phases):
            measured |= _train(executor, phases, left)
    return measured


def _train(executor: Executor, phases: Sequence[Phase], left: Sequence[Phase]) -> dict[str, Losses | UserError]:
    for phase in left:
        executor.begin(phase)
    executor.reporter.now(f"N = {format_count(n_params(left[0].model))}: {len(left)} phases side by side")
    parts = [executor.part(phase, done=phase not in left) for phase in phases]
    with executor.watch(left) as watch:
        stacks = run_together(executor.trainer(left[0]), parts, on_step=watch.together, on_row=watch.row)
    made = list(zip(phases, stacks, strict=True))
    ended = [(phase, stack) for phase, stack in made if isinstance(stack, Stack)]
    found: dict[str, Losses | UserError] = {
        phase.name: refusal for phase, refusal in made if isinstance(refusal, UserError)
    }
    for (phase, _), losses in zip(ended, executor.measure(ended), strict=True):
        executor.end(phase, losses)
        found[phase.name] = losses
    return found
