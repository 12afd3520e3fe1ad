"""What every part of a study costs, before it is paid: tokens, FLOPs, and hours by a rate measured here and now."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from splitjax.config import Model, format_count
from splitjax.model import flops_per_token
from splitjax.planning.bench import Runner
from splitjax.runs.phase_tree import grow, tokens_trained
from splitjax.runs.phase_work import flops_of

from .spec import Part
from .verdict import table

STEPS = 8
"""Steps timed of each stack."""
Rate = Callable[[Part, Model, int], float]
"""(part, model, size of the stack) → tokens a second over the whole stack."""


@dataclass(frozen=True)
class Cost:
    """Of a part; hours: steps alone."""

    part: Part
    cells: int
    tokens: int
    flops: float
    hours: float


def cost_of(part: Part, rate: Rate | None) -> Cost:
    """Tokens, FLOPs and hours (0 without a rate) of a part, trunks shared."""
    phases = grow(part.cells, part.config.train.decay_share)
    quantum, vocab = part.clock.tokens_per_step, part.config.data.tokenizer.vocab_size
    hours = sum(phase.steps(part.experts) * quantum / rate(part, phase.model, phase.stack_size(part.experts))
                for phase in phases) / 3600 if rate else 0.0
    return Cost(part, len(part.cells), tokens_trained(phases, part.experts, quantum),
                flops_of(phases, part.config, part.experts, vocab), hours)


class Measured:
    """Rates of this machine: a stack of one and a stack of K, at a small and a large size, measured where asked.

    Args:
        part: whose recipe and K they have.
        sizes: models that are timed; another is taken to reach the FLOPs a second of the nearest.
    """

    def __init__(self, part: Part, sizes: Sequence[Model]) -> None:
        self.part, self.sizes = part, list(sizes)
        self._known: dict[tuple[Model, int], float] = {}

    def __call__(self, part: Part, model: Model, stack: int) -> float:
        vocab, length = part.config.data.tokenizer.vocab_size, part.config.train.seq_len

        def flops(one: Model) -> float:
            return flops_per_token(one, vocab, length)

        near = min(self.sizes, key=lambda one: abs(math.log(flops(one) / flops(model))))
        experts = self.part.experts if stack > 1 else 1
        if (near, experts) not in self._known:
            runner = Runner.of(self.part.config.model_copy(update={"model": near}), experts)
            runner.steps(2)
            self._known[near, experts] = experts * self.part.clock.tokens_per_step * STEPS / runner.seconds(STEPS)
        return self._known[near, experts] * flops(near) / flops(model)


def cost_table(costs: Sequence[Cost], done: Sequence[str]) -> str:
    """What there is to train, and what has its rows."""
    lines = [
        [each.part.name, str(each.cells), format_count(each.tokens), f"{each.flops:.2g}", f"{each.hours:.2f}",
         "has its rows" if each.part.name in done else "to train"]
        for each in costs
    ]
    for name, kept in (("all", costs), ("left", [each for each in costs if each.part.name not in done])):
        lines.append([
            name, str(sum(each.cells for each in kept)), format_count(sum(each.tokens for each in kept)),
            f"{sum(each.flops for each in kept):.2g}", f"{sum(each.hours for each in kept):.2f}", "",
        ])
    return table(["part", "cells", "tokens", "FLOPs", "hours", ""], lines)
