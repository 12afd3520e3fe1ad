"""`splitjax launch CONFIG.yaml --on local|slurm|tpu-vm|gke`."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from splitjax.launching import BACKENDS, Options

    common.add_config_arguments(parser, redo=False)
    parser.add_argument("--on", required=True, choices=BACKENDS, help="where to run")
    parser.add_argument("--dry-run", action="store_true", help="print what would be run, as a bash script")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--logs", action="store_true", help="follow what the job prints (not local)")
    action.add_argument("--delete", action="store_true", help="end the job and free its machines (not local)")
    for option in fields(Options):
        places = ", ".join(name for name, backend in BACKENDS.items() if option.name in backend.takes)
        default = f"; default {option.default}" if isinstance(option.default, int | str) and option.default else ""
        settings: dict[str, Any] = {"help": f"{option.metadata['help']} ({places}{default})"}
        if isinstance(option.default, bool):
            settings["action"] = "store_true"
        elif isinstance(option.default, tuple):
            settings |= {"action": "append", "default": [], "metavar": option.metadata["metavar"]}
        else:
            kind = int if isinstance(option.default, int) else str
            settings |= {"type": kind, "default": option.default, "metavar": option.metadata["metavar"]}
        parser.add_argument(f"--{option.name.replace('_', '-')}", **settings)


def run(args: argparse.Namespace) -> int:
    from splitjax import launching

    options = {each.name: getattr(args, each.name) for each in fields(launching.Options)}
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    options["action"] = "logs" if args.logs else "delete" if args.delete else "start"
    options["config"] = common.config_of(args)
    if args.dry_run:
        print(launching.script_of(args.config, args.overrides, on=args.on, **options), end="")
        return 0
    return launching.launch(args.config, args.overrides, on=args.on, **options)
