"""`splitjax prepare CONFIG.yaml`."""

from __future__ import annotations

import argparse

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    config = common.config_of(args)
    from splitjax import stages

    found = stages.prepare(config, **common.options_of(args))
    if args.json:
        common.print_json(found)
    return 0
