"""`splitjax fit TABLE.csv` for anybody's table; `splitjax fit CONFIG.yaml` for a run's observations."""

from __future__ import annotations

import argparse

from splitjax.config import UserError

from . import common, law_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    common.add_json_argument(parser)
    told = "of a run that has ended: fit again with its own models among the rows, to law_after.json"
    parser.add_argument("--with-results", action="store_true", help=told)
    law_table.add_fit_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from splitjax.law import is_table

    if is_table(args.config):
        common.refuse_overrides(args, "a table has no config to override")
        common.refuse_redo(args)
        if args.with_results:
            raise UserError("--with-results is for a run's CONFIG.yaml; a table has no results", where=args.config)
        return law_table.fit_table(args)
    common.refuse_options(args, law_table.add_fit_arguments, "is for a TABLE.csv; a run's law is set by its law.* keys")
    config = common.config_of(args)
    from splitjax.stages.commands import fit_run

    found = fit_run(config, with_results=args.with_results, **common.options_of(args))
    if args.json:
        common.print_json(found)
    return 0
