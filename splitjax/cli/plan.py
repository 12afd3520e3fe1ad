"""`splitjax plan --law law.json …` for any law; `splitjax plan CONFIG.yaml` for a run."""

from __future__ import annotations

import argparse

from splitjax.config import UserError

from . import common, law_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    parser._actions[1].nargs = "?"
    common.add_json_argument(parser)
    law_table.add_plan_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.law:
        return law_table.plan_law(args)
    if not args.config:
        raise UserError("give a CONFIG.yaml, or --law law.json", where="splitjax plan")
    config = common.config_of(args)
    from splitjax.pipeline.main import plan_run

    found = plan_run(config, **common.options_of(args))
    if args.json:
        common.print_json(found)
    return 0
