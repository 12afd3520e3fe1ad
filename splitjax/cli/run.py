"""`splitjax run CONFIG.yaml`: the main job."""

from __future__ import annotations

import argparse

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    common.add_json_argument(parser)
    common.add_jobs_argument(parser)


def run(args: argparse.Namespace) -> int:
    config = common.job_config(args)  # before the heavy imports: a typing error answers at once
    from splitjax import stages
    from splitjax.reporting import closing_table
    from splitjax.reporting.verdict import headline
    from splitjax.runs.plan_record import read_plan
    from splitjax.runs.run_folder import RunFolder

    results = stages.run(config, jobs=args.jobs, **common.options_of(args))
    if not common.speaks():
        return 0
    if args.json:
        common.print_json(results)
        return 0
    folder = RunFolder(config.folder)
    screen = common.screen()
    screen.print(closing_table(results))
    screen.print(headline(read_plan(folder), results), style="bold")
    screen.print(f"Report: {folder.report}", soft_wrap=True)
    return 0
