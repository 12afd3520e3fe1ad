"""`splitjax fit TABLE.csv` for anybody's table; `splitjax fit CONFIG.yaml` for a run's observations."""

from __future__ import annotations

import argparse

from . import common
from .laws import law_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    common.add_json_argument(parser)
    law_table.add_fit_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from splitjax.law import is_table

    if is_table(args.config):
        common.refuse_overrides(args, "a table has no config to override")
        common.refuse_redo(args)
        return law_table.fit_table(args)
    of_table = "is for a TABLE.csv; a run's law is set by its law.* keys"
    common.refuse_options(args, law_table.add_fit_arguments, of_table, but=("plot", "profile"))
    config = common.config_of(args)
    from splitjax.law import LawFit
    from splitjax.runs.run_folder import RunFolder
    from splitjax.stages.commands import fit_run

    found = fit_run(config, **common.options_of(args))
    if args.json and not common.given(args, law_table.add_fit_arguments):
        common.print_json(found)
        return 0
    return law_table.tell_fit(args, LawFit.load(RunFolder(config.folder).law))
