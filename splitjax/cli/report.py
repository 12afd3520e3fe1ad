"""`splitjax report CONFIG.yaml`."""

from __future__ import annotations

import argparse

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    config = common.config_of(args)
    from splitjax import stages

    common.say(stages.report(config, **common.options_of(args)))
    return 0
