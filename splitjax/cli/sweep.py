"""`splitjax sweep CONFIG.yaml [--dry-run]`."""

from __future__ import annotations

import argparse

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="list the cells with tokens and FLOPs; train nothing")


def run(args: argparse.Namespace) -> int:
    config = common.config_of(args)
    from splitjax import pipeline

    if not args.dry_run:
        pipeline.sweep(config, **common.options_of(args))
        return 0
    from rich.console import Console

    from splitjax.pipeline.costs import sweep_table
    from splitjax.pipeline.folder import RunFolder
    from splitjax.pipeline.progress import Reporter

    Console().print(sweep_table(pipeline.Job(config, RunFolder(config.folder), Reporter())))
    return 0
