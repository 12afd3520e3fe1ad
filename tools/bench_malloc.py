"""Time and page faults of a training step, with the C library's own ways and with `parallel.keep_freed_memory`.

    python tools/bench_malloc.py [CONFIG.yaml] [dotted.key=value ...]

Prints a table: the steps run in one process, first as the C library would have it. CPU time, so that other work on
the machine counts little.
"""

from __future__ import annotations

import resource
import sys
import time

from splitjax.config import load
from splitjax.model import LanguageModel
from splitjax.parallel import keep_freed_memory
from splitjax.pipeline import bench, provenance
from splitjax.train import Trainer

STEPS = 40


def measure(run: bench.Runner) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, page faults) a step."""
    run.steps(2)
    began, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run.steps(STEPS)
    wall, ended = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    return wall / STEPS, cpu / STEPS, (ended.ru_minflt - began.ru_minflt) / STEPS


def main(arguments: list[str]) -> None:
    path, overrides = (arguments[0], arguments[1:]) if arguments else ("configs/demo.yaml", [])
    config = load(path, overrides)
    trainer = Trainer(LanguageModel.under(config.train, config.model, config.data.tokenizer.vocab_size), config.train)
    run = bench.Runner(trainer, 1, config.data.tokenizer.vocab_size, keep_memory=False)
    print("| memory that is freed | wall a step | CPU a step | page faults a step |\n|---|---|---|---|")
    before = measure(run)
    if not keep_freed_memory():
        sys.exit("bench_malloc: this C library cannot be told to keep memory")
    for name, (wall, cpu, faults) in {"goes back to the system": before, "is kept": measure(run)}.items():
        print(f"| {name} | {1e3 * wall:.1f} ms | {1e3 * cpu:.1f} ms | {faults:,.0f} |")
    made = provenance.of(f"python tools/bench_malloc.py {' '.join(arguments)}".strip())
    print(f"\n{made['hardware']}; commit {made['commit']}; `{made['command']}`")


if __name__ == "__main__":
    main(sys.argv[1:])
