#!/usr/bin/env python3
"""Predicted against measured step times on the machine at hand, peaks measured in the same process.

    python tools/bench_roofline.py [--rounds 3]

A CPU has no published peaks: its product peak is the fastest square matmul, its bandwidth that of a large copy. One
efficiency serves all shapes. On an accelerator in the table of chips, its published peaks and efficiency serve.
"""

from __future__ import annotations

import argparse
import statistics
import time

import splitjax  # noqa: F401 # isort: skip  # before jax, which would look for a TPU
import jax
import jax.numpy as jnp

from splitjax.config import Model, Train, format_count
from splitjax.model import LanguageModel, flops_per_token, n_params_total, work
from splitjax.parallel import Chip, Times, chip_of, keep_freed_memory
from splitjax.planning.bench import Runner, matmul_ceiling
from splitjax.runs import provenance
from splitjax.train import Trainer

CPU_EFFICIENCY = 0.7
SHAPES = {
    "cpu": [
        (Model(d_model=128, n_layers=4, n_heads=4, d_ff=352), 2048, 256, 16),
        (Model(d_model=256, n_layers=6, n_heads=4, d_ff=688), 4096, 256, 16),
        (Model(d_model=384, n_layers=4, n_heads=6, d_ff=1024), 4096, 256, 8),
        (Model(d_model=512, n_layers=4, n_heads=8, d_ff=1408), 4096, 512, 4),
        (Model(d_model=768, n_layers=3, n_heads=12, d_ff=2048), 8192, 256, 4),
    ],
    "accelerator": [
        (Model.model_validate("122M"), 32768, 2048, 16),
        (Model.model_validate("310M"), 32768, 2048, 8),
        (Model.model_validate("1.3B"), 32768, 2048, 4),
    ],
}


def copy_bandwidth() -> float:
    """Bytes/s read and written by a large copy."""
    x = jnp.zeros(1 << 26, jnp.float32)
    copy = jax.jit(lambda x: x + 1.0)
    copy(x).block_until_ready()
    times = []
    for _ in range(7):
        start = time.perf_counter()
        copy(x).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2.0 * x.nbytes / min(times)


def predicted(chip: Chip, model: Model, vocab: int, train: Train) -> float:
    """Seconds a step."""
    width = 2 if train.precision == "bfloat16" else 4
    tokens = train.batch_size * train.seq_len
    again = work.recomputed_flops_per_token(model, train.seq_len, work.remat_of(train), "xla")
    hbm = tokens * work.traffic_per_token(model, vocab, work.remat_of(train), width)
    hbm += work.traffic_per_step(n_params_total(model, vocab), 1, width)
    flops = tokens * (flops_per_token(model, vocab, train.seq_len) + again)
    return Times.of(chip, flops=flops, hbm_bytes=hbm, sent={}, bandwidth={}).step(chip.efficiency)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times to go through all shapes (3)")
    args = parser.parse_args()
    keep_freed_memory()
    device = jax.devices()[0]
    known = chip_of(device.device_kind)
    precision = "bfloat16" if known else "float32"
    runners = []
    for model, vocab, seq_len, batch in SHAPES["accelerator" if known else "cpu"]:
        train = Train(seq_len=seq_len, batch_size=batch, precision=precision)
        trainer = Trainer(LanguageModel.under(train, model, vocab), train)
        runners.append((model, vocab, train, Runner(trainer, 1, vocab)))
    measured: list[list[float]] = [[] for _ in runners]
    ceilings, bandwidths = [], []
    for _ in range(args.rounds):
        ceilings.append(matmul_ceiling(precision))
        bandwidths.append(copy_bandwidth())
        for times, (*_, runner) in zip(measured, runners, strict=True):
            runner.steps(1)
            times.append(min(runner.seconds(1) for _ in range(3)))
    chip = known or Chip(
        "CPU", statistics.median(ceilings), 0, statistics.median(bandwidths), efficiency=CPU_EFFICIENCY
    )
    peaks = f"{chip.flops / 1e9:,.0f} GFLOP/s, {chip.bandwidth / 1e9:.1f} GB/s"
    print(f"{chip.name}: {peaks}, {chip.efficiency:.0%} of both")
    print("| parameters | batch x seq | measured, ms | predicted, ms | error |\n| --- | --- | --- | --- | --- |")
    for (model, vocab, train, _), times in zip(runners, measured, strict=True):
        found, said = statistics.median(times), predicted(chip, model, vocab, train)
        print(
            f"| {format_count(n_params_total(model, vocab))} | {train.batch_size} x {train.seq_len} "
            f"| {1e3 * found:.0f} | {1e3 * said:.0f} | {said / found - 1:+.0%} |"
        )
    made = provenance.of("python tools/bench_roofline.py")
    print(f"\n{made['devices']}; {made['hardware']}; commit {made['commit']}; `{made['command']}`")


if __name__ == "__main__":
    main()
