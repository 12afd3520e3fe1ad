"""A phase in words: what is trained, from where on, and how large; never by the name of its folder."""

from __future__ import annotations

from splitjax.config import format_count
from splitjax.model import n_params

from ..phase_tree import Phase


def phase_words(phase: Phase, step_tokens: int, budget_steps: int | None = None) -> str:
    """"experts from 40 %", "one model, decaying at its end".

    Args:
        step_tokens: tokens of a step of one model.
        budget_steps: T in steps of the main run; None in a sweep, whose sizes and tokens are told instead.
    """
    def where(step: int) -> str:
        return f"{100 * step / budget_steps:.0f} %" if budget_steps else f"{format_count(step * step_tokens)} tokens"

    size = "" if budget_steps else f"N = {format_count(n_params(phase.model))}: "
    seeds = f", {len(phase.seeds)} seeds" if len(phase.seeds) > 1 else _seed(phase.seeds[0])
    if phase.split_at is not None:
        kind = f"experts from {where(phase.split_at)}" if phase.split_at else "experts from the start"
    elif phase.parent is None:
        kind = f"shared model to {where(phase.stop)}"
    elif phase.decay and phase.ends:
        kind = f"one model to {where(phase.stop)}"
    else:
        kind = f"shared model on to {where(phase.stop)}"
    return f"{size}{kind}{seeds}{', its decay' if phase.decay and phase.decay[0] <= phase.start else ''}"


def _seed(own: int | None) -> str:
    """The training seed, where it is not the run's."""
    return "" if own is None else f", seed {own}"
