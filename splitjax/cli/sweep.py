"""`splitjax sweep CONFIG.yaml [--dry-run] [--jobs N] [--part I/N]`."""

from __future__ import annotations

import argparse

from splitjax.config import Config, UserError

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    common.add_json_argument(parser)
    common.add_jobs_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="list the cells with tokens and FLOPs; train nothing")
    parser.add_argument("--part", metavar="I/N", type=_part, help="only the I-th of N parts that share no training; "
                        "without --part the same command gathers them")


def run(args: argparse.Namespace) -> int:
    if args.dry_run:
        return _list(common.config_of(args), args.json)
    config = common.job_config(args)
    from splitjax import stages
    from splitjax.reporting.run_status import cells_of
    from splitjax.runs.run_folder import RunFolder

    stages.sweep(config, jobs=args.jobs, part=args.part, **common.options_of(args))
    if args.json:
        common.print_json({"cells": cells_of(config, RunFolder(config.folder))})
    return 0


def _list(config: Config, as_json: bool) -> int:
    from splitjax.planning.run_costs import sweep_list, sweep_tables
    from splitjax.runs import Job, Reporter, RunFolder

    if config.sweep is None:
        raise UserError("the config has no sweep", where="sweep", mend="See docs/sweeps.md for its keys.")
    told = sweep_list(Job(config, RunFolder(config.folder), Reporter()))
    common.print_json(told) if as_json else common.print_tables(sweep_tables(told))
    if "refused" in told:
        raise UserError(told["refused"])
    return 0


def _part(text: str) -> tuple[int, int]:
    part, slash, parts = text.partition("/")
    if not (slash and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise UserError(f"--part {text} is not I/N", mend="For example --part 2/4; I counts from 1.")
    return int(part), int(parts)
