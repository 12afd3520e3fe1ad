"""`splitjax evaluate CONFIG.yaml`, or lm-eval's tasks on a run that is evaluated: `splitjax evaluate RUN --tasks …`."""

from __future__ import annotations

import argparse

from splitjax.config import UserError

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    parser.add_argument(
        "--tasks", metavar="NAME,…", help="tasks of lm-eval, or YAML files of tasks, instead (their data must be local)"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="items a task (all)")
    common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    if args.tasks is not None:
        return _lm_eval(args)
    if args.limit is not None:
        raise UserError("--limit needs --tasks")
    config = common.job_config(args)
    from splitjax import pipeline

    found = pipeline.evaluate(config, **common.options_of(args))
    if not common.speaks():
        return 0
    if args.json:
        common.print_json(found)
        return 0
    from rich.console import Console

    Console().print(pipeline.closing_table(found))
    return 0


def _lm_eval(args: argparse.Namespace) -> int:
    if args.redo is not None:
        raise UserError("--redo is for a run's own evaluation")
    if args.limit is not None and args.limit < 1:
        raise UserError(f"{args.limit} items", where="--limit", mend="Give 1 or more.")
    tasks = [name for name in args.tasks.split(",") if name]
    if not tasks:
        raise UserError("names no task", where="--tasks")
    config = common.config_of(args)
    from splitjax.pipeline import harness

    found = harness.evaluate(config, tasks, limit=args.limit)
    if args.json:
        common.print_json(found)
    else:
        common.print_tables([harness.table(found)])
    return 0
