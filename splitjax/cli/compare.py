"""`splitjax compare RUN RUN …`: runs side by side."""

from __future__ import annotations

import argparse

from splitjax.config import write_atomic

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders of two or more runs")
    parser.add_argument("--html", metavar="FILE", help="write it as a page too")
    common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from splitjax.reporting import compare, glossary
    from splitjax.reporting.rendering import render
    from splitjax.reporting.sections_text import terminal

    found = compare(args.runs)
    if args.html:
        name = f"{len(args.runs)} runs compared"
        page = render("compare.html", name=name, sections=found.sections(), seen=found.seen, words=glossary.listed())
        write_atomic(args.html, page)
    if args.json:
        common.print_json(found.to_json())
        return 0
    from splitjax.reporting.narrow import console, narrow

    out = console()
    for section in found.sections():
        out.print(narrow(terminal(section)))
        if section.note:
            out.print(section.note, style="dim")
    return 0
