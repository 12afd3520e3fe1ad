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
    from splitjax.reporting.closing import closing, console
    from splitjax.reporting.verdict import verdict
    from splitjax.runs.run_folder import RunFolder

    results = stages.run(config, jobs=args.jobs, **common.options_of(args))
    if not common.speaks():
        return 0
    folder = RunFolder(config.folder)
    found = verdict(folder)
    if args.json:
        common.print_json(results | {"verdict": found.to_json()})
        return 0
    out = console()
    out.print(closing(results, found))
    out.print(f"Report: {folder.report}", soft_wrap=True)
    return 0
