"""`splitjax fit TABLE.csv` for anybody's table; `splitjax fit CONFIG.yaml` for a run's observations."""

from __future__ import annotations

import argparse

from splitjax.config import UserError

from . import common, laws


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    common.add_json_argument(parser)
    told = "of a run that has ended: fit again with its own models among the rows, to law_after.json"
    parser.add_argument("--with-results", action="store_true", help=told)
    laws.add_fit_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from splitjax.law import is_table

    if is_table(args.config):
        common.refuse_overrides(args, "a table has no config to override")
        common.refuse_redo(args)
        if args.with_results:
            raise UserError("--with-results is for a run's CONFIG.yaml; a table has no results", where=args.config)
        return laws.fit_table(args)
    of_table = "is for a TABLE.csv; a run's law is set by its law.* keys"
    common.refuse_options(args, laws.add_fit_arguments, of_table, but=("plot", "profile"))
    config = common.config_of(args)
    from splitjax.law import LawFit
    from splitjax.runs.run_folder import RunFolder
    from splitjax.stages.commands import fit_run

    found = fit_run(config, with_results=args.with_results, **common.options_of(args))
    if args.json and not common.given(args, laws.add_fit_arguments):
        common.print_json(found)
        return 0
    folder = RunFolder(config.folder)
    return laws.tell_fit(args, LawFit.load(folder.law_after if args.with_results else folder.law))
