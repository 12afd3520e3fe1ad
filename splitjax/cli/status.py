"""`splitjax status CONFIG.yaml [--watch]`."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import common

if TYPE_CHECKING:
    from rich.table import Table

SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser, redo=False)
    common.add_json_argument(parser)
    parser.add_argument("--watch", action="store_true", help="show it anew every two seconds until nothing runs")


def run(args: argparse.Namespace) -> int:
    config = common.config_of(args)
    from splitjax.reporting.run_status import status
    from splitjax.runs.run_folder import RunFolder

    folder = RunFolder(config.folder)
    found = status(folder)
    if args.json:
        common.print_json(found)
        return 0
    from rich.live import Live

    if not args.watch:
        common.screen().print(table(found))
        return 0
    with Live(table(found), console=common.screen(), auto_refresh=False) as live:
        while found["running"]:
            time.sleep(SECONDS)
            found = status(folder)
            live.update(table(found), refresh=True)
    return 0


def table(found: Mapping[str, Any]) -> Table:
    """Stages, then the cells of the sweep that are not simply done, then the phases at work."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from splitjax.reporting.goodput import told

    running = "running now" if found["running"] else "not running"
    shown = Table(title=f"{found['run_dir']} ({running})", title_justify="left")
    shown.add_column("what", no_wrap=True)
    shown.add_column("state")
    for stage, state in found["stages"].items():
        shown.add_row(stage, state)
    shown.add_section()
    if cells := found["cells"]:
        counts = Counter(state.partition(":")[0] for state in cells.values())
        shown.add_row("cells", ", ".join(f"{count} {state}" for state, count in counts.items()))
    for cell, state in cells.items():
        if state not in ("done", "waiting"):
            shown.add_row(cell, Text(common.shown(state), "red") if state.startswith("failed") else state)
    shown.add_section()
    for phase, state in found["phases"].items():
        if state != "done":
            shown.add_row(phase, state)
    for change in found["changes"]:
        keys = (f"train.{key} {before} → {after}" for key, (before, after) in change["train"].items())
        shown.add_row("changed", escape(f"{change['made']}: {', '.join(keys)}"))
    if found["goodput"]:
        shown.add_row("goodput", told(found["goodput"]))
    shown.add_row("phases", f"{sum(state == 'done' for state in found['phases'].values())} done")
    return shown
