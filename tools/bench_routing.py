"""K experts scored in one pass against K scorings one after another, on this machine, side by side.

    python tools/bench_routing.py [--experts 8] [--rounds 5]

Two cases: held-out windows, as an evaluation scores them, and one prompt of 64 tokens, as the prefix router reads it.
The separate scorings have everything in their favour: one process, programs compiled, experts in memory. Rounds
alternate; medians are told. What the passes say must agree within 1e-5 nats.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import splitjax  # noqa: F401 # isort: skip  # before jax, which would look for a TPU
import jax
import jax.numpy as jnp
import numpy as np

from splitjax.config import Model
from splitjax.evaluate import Scorer, all_losses
from splitjax.model import LanguageModel
from splitjax.runs import provenance

SHAPES = {
    "d64": (Model(d_model=64, n_layers=2, n_heads=4), 2048),
    "5.8M": (Model(d_model=256, n_layers=6, n_heads=4), 4096),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    about = provenance.of("tools/bench_routing.py")
    print(f"{about['hardware']}, {about['devices']}, commit {about['commit']}, K = {args.experts}")
    print("| model | work | one pass (s) | separate (s) | speed-up |")
    print("|---|---|---|---|---|")
    for name, (shape, vocab) in SHAPES.items():
        model = LanguageModel(shape, vocab)
        experts = [jax.tree.map(lambda leaf: leaf[None], model.init(jax.random.key(k))) for k in range(args.experts)]
        stack = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *experts)
        for work, (together, apart) in cases(model, experts, stack, vocab).items():
            one, many = race(together, apart, args.rounds)
            print(f"| {name} | {work} | {one:.4f} | {many:.4f} | {many / one:.2f}× |", flush=True)


def cases(model: LanguageModel, experts: list[Any], stack: Any, vocab: int) -> dict[str, tuple[Callable, Callable]]:
    """Work → (in one pass, one after another); both give (K, …) losses."""
    rng = np.random.default_rng(0)
    tokens_UT = rng.integers(1, vocab, (16, 257)).astype(np.int32)
    prompt = tokens_UT[0, :65].tolist()
    whole, parts = Scorer(model, stack, 256), [Scorer(model, one, 256) for one in experts]
    return {
        "16 windows of 256": (
            lambda: all_losses(model, stack, tokens_UT, 16),
            lambda: np.concatenate([all_losses(model, one, tokens_UT, 16) for one in experts]),
        ),
        "a prompt of 64": (
            lambda: whole.all([prompt])[0].nll_KS,
            lambda: np.concatenate([part.all([prompt])[0].nll_KS for part in parts]),
        ),
    }


def race(together: Callable, apart: Callable, rounds: int) -> tuple[float, float]:
    """Median seconds of each, after a round that compiles and compares."""
    np.testing.assert_allclose(together(), apart(), atol=1e-5, rtol=1e-5)
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds):
        for index, run in enumerate((together, apart)):
            began = time.perf_counter()
            run()
            seconds[index].append(time.perf_counter() - began)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


if __name__ == "__main__":
    main()
