"""`splitjax train CONFIG.yaml [split=0.3]`."""

from __future__ import annotations

import argparse

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    config = common.job_config(args)
    from splitjax import pipeline

    pipeline.train(config, **common.options_of(args))
    return 0
