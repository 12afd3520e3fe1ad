"""`splitjax status CONFIG.yaml`."""

from __future__ import annotations

import argparse

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser, redo=False)
    common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    config = common.config_of(args)
    from splitjax.pipeline.folder import RunFolder
    from splitjax.pipeline.state import status

    found = status(RunFolder(config.folder))
    if args.json:
        common.print_json(found)
        return 0
    from rich.console import Console
    from rich.table import Table

    running = "running now" if found["running"] else "not running"
    table = Table(title=f"{found['run_dir']} ({running})", title_justify="left")
    table.add_column("stage")
    table.add_column("state")
    for stage, state in found["stages"].items():
        table.add_row(stage, state)
    table.add_section()
    for phase, state in found["phases"].items():
        table.add_row(phase, state)
    Console().print(table)
    return 0
