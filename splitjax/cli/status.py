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

    from splitjax.reporting.narrow import console

    out = console()
    if not args.watch:
        out.print(table(found))
        return 0
    with Live(table(found), console=out, auto_refresh=False) as live:
        while found["running"]:
            time.sleep(SECONDS)
            found = status(folder)
            live.update(table(found), refresh=True)
    return 0


def table(found: Mapping[str, Any]) -> Table:
    """Stages, what is at work, then the cells of the sweep and what failed."""
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
    if progress := found["progress"]:
        shown.add_row("now", f"{progress['stage']}: {progress['what']}")
        shown.add_row("", _progress(progress))
    if cells := found["cells"]:
        counts = Counter(state.partition(":")[0] for state in cells.values())
        shown.add_row("cells", ", ".join(f"{count} {state}" for state, count in counts.items()))
    counts = Counter(found["phases"].values())
    shown.add_row("phases", ", ".join(f"{count} {state}" for state, count in counts.items()) or "none yet")
    for failure in found["failures"]:
        shown.add_row(Text("failed", "red"), f"{failure['what']}: {failure['reason']}")
    for change in found["changes"]:
        keys = (f"train.{key} {before} → {after}" for key, (before, after) in change["train"].items())
        shown.add_row("changed", f"{change['made']}: {', '.join(keys)}")
    if found["goodput"]:
        shown.add_row("goodput", told(found["goodput"]))
    return shown


def _progress(told: Mapping[str, Any]) -> str:
    """Loss, per cent, time left: those that are known yet."""
    from splitjax.runs.reporter import how_far

    loss = [] if told["loss"] is None else [f"loss {told['loss']:.3f}"]
    return ", ".join([*loss, *how_far(told)]) or "no speed yet"
