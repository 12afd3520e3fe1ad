"""`splitjax plan --law law.json …` for any law; `splitjax plan CONFIG.yaml` for a run."""

from __future__ import annotations

import argparse

from splitjax.config import UserError

from . import common, law_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser, needed=False)
    common.add_json_argument(parser)
    law_table.add_plan_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.law:
        if args.config:
            raise UserError(f"both --law and '{args.config}'", where="splitjax plan", mend="Give one of them.")
        return law_table.plan_law(args)
    if not args.config:
        raise UserError("no config and no law", where="splitjax plan", mend="Give a CONFIG.yaml, or --law law.json.")
    common.refuse_options(args, law_table.add_plan_arguments, "goes with --law; a run's plan is set by its config")
    config = common.config_of(args)
    from splitjax.pipeline.main import plan_run

    found = plan_run(config, **common.options_of(args))
    if args.json:
        common.print_json(found)
    return 0
