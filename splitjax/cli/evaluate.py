"""`splitjax evaluate CONFIG.yaml`."""

from __future__ import annotations

import argparse

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    config = common.job_config(args)
    from splitjax import pipeline

    found = pipeline.evaluate(config, **common.options_of(args))
    if not common.speaks():
        return 0
    if args.json:
        common.print_json(found)
        return 0
    from rich.console import Console

    Console().print(pipeline.closing_table(found))
    return 0
