"""Phases by single steps and by blocks of them in one dispatch (`train.steps_per_dispatch`), in turns in one process.

    python tools/bench_steps.py --experts 1 8 --loop vmap --block 8 --rounds 5

A tiny model on random tokens, through the loop that every phase goes through: transfers, controls, rows of the log.
Prints milliseconds a step from the 40th on, the median and the best round, how many times as long single steps take,
and how far the losses lie apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import splitjax  # noqa: F401 # isort: skip  # before jax, which would look for a TPU
import jax
import numpy as np

from splitjax.config import Model, Train
from splitjax.model import LanguageModel
from splitjax.train import Phase, StepReport, Trainer, read_metrics, run_phase, starts

VOCAB, FIRST = 64, 40


class Tokens:
    """One batch for all steps: that making batches takes time is another question."""

    def __init__(self, experts: int, train: Train) -> None:
        shape = experts, train.batch_size, train.seq_len + 1
        self._tokens = np.random.default_rng(0).integers(0, VOCAB, shape, dtype=np.int32)

    def batch(self, t: int, rows: slice | None = None) -> np.ndarray:
        return self._tokens

    def pick(self, experts: Sequence[int]) -> Tokens:
        return self

    def epochs(self, t: int) -> float:
        return 0.0


def timed(trainer: Trainer, experts: int, steps: int) -> tuple[float, np.ndarray]:
    """Seconds a step, and the losses."""
    train, ends = trainer.train, list[float]()
    with tempfile.TemporaryDirectory() as folder:
        begin, stop = starts.init(trainer, list(range(experts))), steps * train.batch_size * train.seq_len

        def on_step(report: StepReport) -> None:
            ends.append(time.perf_counter())

        run_phase(trainer, begin, Tokens(experts, train), Phase(0, stop), Path(folder), on_step=on_step)
        losses = [row["loss"] for row in read_metrics(Path(folder) / "metrics.jsonl")]
    return (ends[-1] - ends[FIRST - 1]) / (steps - FIRST), np.array(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experts", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--loop", default="vmap", help="train.expert_loop")
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--width", type=int, default=16, help="model.d_model")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    recipe = Train(seq_len=32, batch_size=4, warmup=1000, expert_loop=args.loop)
    shape = Model(d_model=args.width, n_layers=args.layers, n_heads=2)
    print(f"{jax.devices()[0].device_kind}, d_model {args.width}, {args.layers} layers, {args.loop}")
    for experts in args.experts:
        trainers = {}
        for block in (1, args.block):
            train = recipe.model_copy(update={"steps_per_dispatch": block})
            trainers[block] = Trainer(LanguageModel.under(train, shape, VOCAB), train)
            timed(trainers[block], experts, FIRST + args.block + 1)  # both programs
        rounds = [[timed(trainer, experts, args.steps) for trainer in trainers.values()] for _ in range(args.rounds)]
        one, several = ([1e3 * made[at][0] for made in rounds] for at in (0, 1))
        ratios = [a / b for a, b in zip(one, several, strict=True)]
        apart = max(float(np.abs(made[0][1] - made[1][1]).max()) for made in rounds)
        times = [f"{statistics.median(each):.2f} ({min(each):.2f})" for each in (one, several)]
        print(f"{experts} models: {times[0]} ms a step, in blocks of {args.block} {times[1]}: single steps take "
              f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times as long; losses within "
              f"{apart:.1e}")


if __name__ == "__main__":
    main()
