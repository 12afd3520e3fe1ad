"""`splitjax run CONFIG.yaml`: the main job."""

from __future__ import annotations

import argparse

from . import common, laws


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    common.add_json_argument(parser)
    common.add_jobs_argument(parser)
    _add_questions(parser)


def _add_questions(parser: argparse.ArgumentParser) -> None:
    laws.add_question_arguments(parser, "asked of a run's law", "instead of running; its files stay as they are")


def run(args: argparse.Namespace) -> int:
    if common.given(args, _add_questions):
        common.refuse_redo(args)
        common.refuse_options(args, common.add_jobs_argument, "trains; a question to a law does not")
        return laws.plan_again(args, common.config_of(args))
    config = common.job_config(args)  # before the heavy imports: a typing error answers at once
    from splitjax import stages
    from splitjax.reporting.closing import closing
    from splitjax.reporting.narrow import console
    from splitjax.runs.run_folder import RunFolder

    results = stages.run(config, jobs=args.jobs, **common.options_of(args))
    if not common.speaks():
        return 0
    if args.json:
        common.print_json(results)
        return 0
    out = console()
    out.print(closing(results))
    out.print(f"Report: {RunFolder(config.folder).report}", soft_wrap=True)
    return 0
