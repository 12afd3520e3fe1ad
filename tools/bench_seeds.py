"""Seeds of one small model as one stack, beside the same seeds one by one: what `splitjax sweep` decides by.

    python tools/bench_seeds.py configs/demo.yaml --seeds 4 --rounds 5

Both in one process, in turns; prints milliseconds a step of all seeds together and their ratio, for the trunk (one
model a seed) and for the experts (K a seed).
"""

from __future__ import annotations

import argparse
import statistics

import splitjax  # noqa: F401 # isort: skip  # before jax, which would look for a TPU
import jax

from splitjax.config import load
from splitjax.model import LanguageModel, n_params
from splitjax.planning.bench import Runner
from splitjax.train import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--experts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    config = load(args.config, args.overrides)
    vocab = config.data.tokenizer.vocab_size
    trainer = Trainer(LanguageModel.under(config.train, config.model, vocab), config.train)
    print(f"{jax.devices()[0].device_kind}, N = {n_params(config.model)}, {args.seeds} seeds")
    for name, models in (("trunk", 1), ("experts", args.experts)):
        together, alone = Runner(trainer, args.seeds * models, vocab), Runner(trainer, models, vocab)
        for runner in (together, alone):
            runner.steps(2)
        ratios, times = [], []
        for _ in range(args.rounds):
            one = alone.seconds(args.steps * args.seeds) / args.steps
            all_ = together.seconds(args.steps) / args.steps
            times.append(all_)
            ratios.append(one / all_)
        told = f"{1e3 * statistics.median(times):.2f} ms a step as one stack; one by one takes"
        print(f"{name}: {told} {statistics.median(ratios):.2f} times that ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
