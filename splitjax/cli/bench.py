"""`splitjax bench CONFIG.yaml`: tokens/s, MFU and memory on the machine at hand."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser, redo=False)
    common.add_json_argument(parser)
    parser.add_argument("--experts", type=int, default=1, metavar="K", help="experts in the stack (1)")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="steps to time (10)")
    starts = "also the time from a process's start to its first step, without and with compiled programs kept"
    search = "measure batch sizes, remat and loss blocks, and the row of the fastest"
    parser.add_argument("--search", action="store_true", help=search)
    parser.add_argument("--starts", action="store_true", help=starts)
    profile = "keep a profiler's trace there, and tell a step's time by class of kernels"
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help=profile)


def run(args: argparse.Namespace) -> int:
    config = common.config_of(args)
    from splitjax.planning import bench_search, first_step, kernel_times
    from splitjax.planning.bench import bench

    command = common.options_of(args)["command"]
    if args.search:
        best = bench_search.search(config, args.experts, told=lambda tried: print(tried.row(), file=sys.stderr))
        print(f"fastest: {best.words()}", file=sys.stderr)
        config = best.under(config)
    starts = first_step.measure(config, args.experts) if args.starts else None
    found = bench(config, experts=args.experts, steps=args.steps, profile=args.profile, command=command)
    if args.json:
        common.print_json(found.to_json() | ({"first_step": starts} if starts else {}))
        return 0
    print(found.row())
    if args.profile:
        print("\n" + kernel_times.table(found.kernels, found.step_time))
    if starts:
        print(f"\nfirst step after {starts['cold']:.1f} s cold, {starts['warm']:.1f} s warm")
    return 0
