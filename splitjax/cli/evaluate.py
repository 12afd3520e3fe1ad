"""`splitjax evaluate CONFIG.yaml`; `RUN|FOLDER --tasks …`: lm-eval's tasks; `FOLDER --data RUN`: on a run's windows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from splitjax.config import UserError, config_at, is_models

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser)
    parser.add_argument(
        "--tasks", metavar="NAME,…", help="tasks of lm-eval, or YAML files of tasks, instead (their data must be local)"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="items a task (all)")
    parser.add_argument(
        "--num-fewshot", metavar="N", type=int, help="examples before each item (as the task says, else none)"
    )
    parser.add_argument(
        "--data", metavar="RUN", help="score CONFIG, an exported set or Hugging Face folder, on this run's test windows"
    )
    common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    if args.tasks is not None:
        return _lm_eval(args)
    for option in ("limit", "num_fewshot"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option.replace('_', '-')} needs --tasks")
    if args.data is not None or is_models(Path(args.config)):
        return _folder(args)
    config = common.job_config(args)
    from splitjax import stages
    from splitjax.reporting.closing import closing
    from splitjax.reporting.narrow import console

    found = stages.evaluate(config, **common.options_of(args))
    if not common.speaks():
        return 0
    if args.json:
        common.print_json(found)
        return 0
    console().print(closing(found))
    return 0


def _lm_eval(args: argparse.Namespace) -> int:
    if args.redo is not None:
        raise UserError("--redo is for a run's own evaluation")
    if args.data is not None:
        raise UserError("--data is for a folder of models, without --tasks")
    if args.limit is not None and args.limit < 1:
        raise UserError(f"{args.limit} items", where="--limit", mend="Give 1 or more.")
    if args.num_fewshot is not None and not 0 <= args.num_fewshot <= 1000:
        raise UserError(f"{args.num_fewshot} examples", where="--num-fewshot", mend="Give 0 to 1000.")
    tasks = [name for name in args.tasks.split(",") if name]
    if not tasks:
        raise UserError("names no task", where="--tasks")
    source: Any = Path(args.config)
    if is_models(source):
        common.refuse_overrides(args, "a folder of models has no settings")
    else:
        source = common.config_of(args)
    from splitjax.serving import task_scores

    found = task_scores.evaluate(source, tasks, limit=args.limit, shots=args.num_fewshot)
    if args.json:
        common.print_json(found)
    else:
        common.print_tables([task_scores.table(found)])
    return 0


def _folder(args: argparse.Namespace) -> int:
    folder = Path(args.config)
    common.refuse_overrides(args, "a folder of models has no settings")
    if args.redo is not None:
        raise UserError("--redo is for a run's own evaluation")
    if not is_models(folder):
        raise UserError("neither an exported set nor a Hugging Face model", where=str(folder), mend="Leave out --data.")
    if args.data is None:
        raise UserError("needs a run whose test windows it is scored on", where=str(folder), mend="Give --data RUN.")
    data = config_at(Path(args.data))
    from splitjax.serving import folder_scores

    found = folder_scores.evaluate_folder(folder, data)
    if args.json:
        common.print_json(found)
    else:
        common.print_tables([folder_scores.table(found)])
    return 0
