"""`splitjax train CONFIG.yaml [split=0.3] [--expert K]`."""

from __future__ import annotations

import argparse
import shlex

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    parser.add_argument(
        "--expert", type=int, metavar="K",
        help="under train.placement=separate: train expert K alone, beside the jobs of the others",
    )


def run(args: argparse.Namespace) -> int:
    config = common.job_config(args)
    from splitjax import stages

    try:
        stages.train(config, expert=args.expert, **common.options_of(args))
    except stages.ExpertsLeft as left:
        if common.speaks():
            for expert in left.experts:
                print(shlex.join(["splitjax", "train", args.config, *args.overrides, "--expert", str(expert)]))
    return 0
