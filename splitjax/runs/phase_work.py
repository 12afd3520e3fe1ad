"""How much work phases are: FLOPs, and units of about equal duration for the time left."""

from __future__ import annotations

from collections.abc import Iterable

from splitjax.config import Config, Model
from splitjax.model import flops_per_token, state_bytes

from .cells import Clock
from .phase_tree import Phase

# FLOPs a second are far lower for tiny models, whose steps are all overhead. A constant cost a token
# beside the FLOPs keeps the estimate of the time left honest across sizes.
_OVERHEAD_FLOPS = 2e6


def work_of(phases: Iterable[Phase], config: Config, experts: int, vocab_size: int) -> float:
    """Training work in units of about equal duration."""
    clock = Clock.of(config, experts)
    return sum(phase.steps(experts) * work_of_step(phase.model, config, clock, vocab_size) for phase in phases)


def flops_of(phases: Iterable[Phase], config: Config, experts: int, vocab_size: int) -> float:
    """Training FLOPs of these phases over all models."""
    clock = Clock.of(config, experts)
    return float(sum(
        phase.steps(experts) * clock.tokens_per_step * flops_per_token(phase.model, vocab_size, config.train.seq_len)
        for phase in phases
    ))


def disk_of(phases: Iterable[Phase], config: Config, experts: int, vocab_size: int) -> int:
    """Bytes that the checkpoints of these phases take at most: those that stay, and one to resume from."""
    quantum, every = Clock.of(config, experts).tokens_per_step, config.train.keep_every
    kept, temporary = 0, 0
    for phase in phases:
        one = state_bytes(phase.model, config.train, vocab_size, phase.stack_size(experts))
        regular = phase.stop * quantum // every - phase.start * quantum // every if every else 0
        kept += one * (len({*phase.save_at, phase.stop}) + min(regular, config.train.keep_last or regular))
        temporary = max(temporary, one)
    return kept + temporary


def work_of_step(model: Model, config: Config, clock: Clock, vocab_size: int) -> float:
    """The same of one step of one model."""
    flops = flops_per_token(model, vocab_size, config.train.seq_len)
    return clock.tokens_per_step * (flops + _OVERHEAD_FLOPS)
