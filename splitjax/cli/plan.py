"""`splitjax plan --law law.json …` for any law; `splitjax plan CONFIG.yaml` for a run."""

from __future__ import annotations

import argparse
import sys

from splitjax.config import Config, UserError

from . import common, laws


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser, needed=False)
    common.add_json_argument(parser)
    laws.add_plan_arguments(parser)
    parser.add_argument("--topology", metavar="NAME", help="what the run costs there: v5p:4x4x4, 8xv5e:4x4, h100:8")
    parser.add_argument("--estimate", action="store_true", help="do not compile for --topology, estimate")


def run(args: argparse.Namespace) -> int:
    if args.estimate and not args.topology:
        raise UserError("--estimate without --topology", where="splitjax plan")
    if args.law:
        if args.topology:
            raise UserError("--topology goes with a CONFIG.yaml, not with --law", where="splitjax plan")
        if args.config:
            raise UserError(f"both --law and '{args.config}'", where="splitjax plan", mend="Give one of them.")
        common.refuse_redo(args)
        return laws.plan_law(args)
    if not args.config and args.propose:
        common.refuse_redo(args)
        return laws.first_runs(args)
    if not args.config:
        raise UserError("no config and no law", where="splitjax plan", mend="Give a CONFIG.yaml, or --law law.json.")
    config, asks = common.config_of(args), common.given(args, laws.add_plan_arguments)
    if args.topology:
        common.refuse_options(args, laws.add_plan_arguments, "asks a law, and --topology prices a config")
        return _price(args, config)
    if asks:
        common.refuse_redo(args)
        return laws.plan_again(args, config)
    from splitjax.stages.commands import plan_run

    found = plan_run(config, **common.options_of(args))
    common.print_json(found) if args.json else common.say(laws.run_plan_text(found))
    return 0


def _price(args: argparse.Namespace, config: Config) -> int:
    """What the run costs on a topology: needs neither data nor devices."""
    from splitjax.planning import pricing

    found = pricing.price(
        config, args.topology, analytic=args.estimate, told=lambda text: print(text, file=sys.stderr, flush=True)
    )
    if args.json:
        common.print_json(found.to_json())
    else:
        common.print_tables(pricing.tables(found, config))
    return 0
