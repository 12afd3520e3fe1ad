"""The fastest way to train a config on the card at hand: batch × remat × loss blocks, measured."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax

from splitjax.config import Config, UserError
from splitjax.runs.settled import REMATS

from .bench import Runner

_WORTH = 1.02
"""A larger batch, or other blocks, must be faster by this to be taken: less is noise, and a batch is also learning."""
_GROUPS = 3


@dataclass(frozen=True)
class Tried:
    """One way, and how it went.

    Attributes:
        loss_blocks: None: as suits the device.
        tokens_per_s: of all experts; None: it did not fit.
        memory: bytes, as the compiler planned it; 0 where it did not fit.
    """

    batch_size: int
    remat: str
    loss_blocks: int | None
    tokens_per_s: float | None = None
    memory: int = 0

    def words(self) -> str:
        """As overrides of a command line."""
        blocks = "" if self.loss_blocks is None else f" train.loss_blocks={self.loss_blocks}"
        return f"train.batch_size={self.batch_size} train.remat={self.remat}{blocks}"

    def under(self, config: Config) -> Config:
        """The config, trained this way."""
        changes = {"batch_size": self.batch_size, "remat": self.remat, "loss_blocks": self.loss_blocks}
        return config.model_copy(update={"train": config.train.model_copy(update=changes)})

    def row(self) -> str:
        speed = "does not fit" if self.tokens_per_s is None else f"{self.tokens_per_s:,.0f} tokens/s"
        return f"{self.words():58} {speed:>18} {self.memory / 2**30:8.1f} GiB"


Measure = Callable[[Tried], Tried]


def search(
    config: Config, experts: int = 1, steps: int = 6, told: Callable[[Tried], None] = lambda tried: None
) -> Tried:
    """The fastest way, from the config's batch on, and the smallest batch of those that are within 2 % of it.

    Args:
        experts: K of the stack.
        steps: steps to time, each way.
        told: hears of every way that was tried.

    Raises:
        UserError: none fits.
    """
    train = config.train
    return best_of(train.batch_size, train.seq_len, lambda tried: measured(config, experts, steps, tried), told)


def best_of(batch: int, length: int, measure: Measure, told: Callable[[Tried], None]) -> Tried:
    """`search` over any way to measure.

    A batch is doubled as long as that pays; what recomputes more is tried only from where less did not fit.
    """
    best: Tried | None = None
    for remat in REMATS:
        fits = True
        while fits:
            tried = measure(Tried(batch, remat, None))
            told(tried)
            fits = tried.tokens_per_s is not None
            if not _faster(tried, best):
                break
            best, batch = tried, 2 * batch
        if fits:
            break
    if best is None:
        raise UserError(f"a batch of {batch} does not fit, whatever is recomputed", where="train.batch_size",
                        mend="Lower it, or set train.microbatches, or take fewer experts.")
    for blocks in (1, 4, 16):
        if length % blocks == 0:
            tried = measure(replace(best, loss_blocks=blocks))
            told(tried)
            best = tried if _faster(tried, best) else best
    return best


def _faster(tried: Tried, best: Tried | None) -> bool:
    before = best.tokens_per_s if best else 0.0
    return tried.tokens_per_s is not None and before is not None and tried.tokens_per_s > _WORTH * before


def measured(config: Config, experts: int, steps: int, way: Tried) -> Tried:
    """The way with its speed and memory; one that the device's memory does not hold comes back without."""
    config = way.under(config)
    train = config.train
    try:
        run = Runner.of(config, experts)
        run.steps(2)
        each = max(steps // _GROUPS, 1)
        seconds = statistics.median(run.seconds(each) for _ in range(_GROUPS)) / each
        tokens = experts * train.batch_size * train.seq_len
        return replace(way, tokens_per_s=tokens / seconds, memory=run.planned_bytes())
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return way
    finally:
        gc.collect()  # the stack of one way must be gone before the next
