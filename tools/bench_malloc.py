"""Time and page faults of a training step, with the C library's own ways and with `parallel.keep_freed_memory`.

    python tools/bench_malloc.py [CONFIG.yaml] [dotted.key=value ...]

Each way is a process of its own, since the C library is told before JAX starts; they take turns, three times. Prints a
table of medians.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time

ROUNDS, GROUPS = 3, 5
WAYS = {"system": "goes back to the system", "kept": "is kept"}


def measure(way: str, arguments: list[str]) -> None:
    """Print (wall seconds, CPU seconds, page faults) a step, least of a few groups, and the peak memory in MB."""
    from splitjax.config import load
    from splitjax.parallel import keep_freed_memory
    from splitjax.planning.bench import Runner

    config = load(arguments[0], arguments[1:])
    if way == "kept" and not keep_freed_memory():
        sys.exit("bench_malloc: nothing to be told here: another C library than glibc, or an accelerator")
    run = Runner.of(config)
    run.steps(2)
    steps = max(1, round(2 / run.seconds(1)))
    groups = [one_group(run, steps) for _ in range(GROUPS)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps([min(column) for column in zip(*groups, strict=True)] + [peak]))


def one_group(run: object, steps: int) -> tuple[float, float, float]:
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run.steps(steps)  # type: ignore[attr-defined]
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall / steps, cpu / steps, (after.ru_minflt - before.ru_minflt) / steps


def main(arguments: list[str]) -> None:
    from splitjax.runs import provenance

    arguments = arguments or ["configs/demo.yaml"]
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, rows in found.items():
            command = [sys.executable, __file__, "--way", way, *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    print("| memory that is freed | wall a step | CPU a step | page faults a step | peak |\n|---|---|---|---|---|")
    for way, rows in found.items():
        wall, cpu, faults, peak = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {WAYS[way]} | {1e3 * wall:.1f} ms | {1e3 * cpu:.1f} ms | {faults:,.0f} | {peak:,.0f} MB |")
    made = provenance.of(f"python tools/bench_malloc.py {' '.join(arguments)}".strip())
    print(f"\n{made['hardware']}; commit {made['commit']}; `{made['command']}`")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        measure(sys.argv[2], sys.argv[3:])
    else:
        main(sys.argv[1:])
