"""What every command shares: CONFIG.yaml, overrides, --redo, --json."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TextIO

from splitjax.config import Config, UserError, config_at, shown

_ERRORS = "backslashreplace"
_results: TextIO | None = None
"""Where JSON goes, if not to sys.stdout."""
SETTINGS = "\nOverrides are dotted.key=value; the keys are those of the config file."


def add_config_arguments(parser: argparse.ArgumentParser, *, redo: bool = True, needed: bool = True) -> None:
    """CONFIG.yaml [dotted.key=value ...] [--redo STAGE]."""
    parser.add_argument(
        "config", metavar="CONFIG", nargs=None if needed else "?", help="config file, or the folder of a run"
    )
    parser.add_argument("overrides", metavar="dotted.key=value", nargs="*", help="settings that replace the file's")
    if redo:
        parser.add_argument("--redo", metavar="STAGE", help="make this stage and all after it anew")
    parser.epilog = SETTINGS


def refuse_overrides(args: argparse.Namespace, why: str) -> None:
    """Refuse dotted.key=value where nothing would read it."""
    if args.overrides:
        raise UserError(f"'{args.overrides[0]}': {why}")


def refuse_redo(args: argparse.Namespace) -> None:
    """Refuse --redo where there is no run."""
    if args.redo:
        raise UserError("there is no run whose stages could be made anew", where="--redo")


def refuse_options(
    args: argparse.Namespace, add: Callable[[argparse.ArgumentParser], None], why: str, *, but: Collection[str] = ()
) -> None:
    """Refuse options of the other form of a command, but for some, instead of ignoring them."""
    for name in given(args, add):
        if name not in but:
            raise UserError(f"--{name.replace('_', '-')} {why}")


def given(args: argparse.Namespace, add: Callable[[argparse.ArgumentParser], None]) -> list[str]:
    """Which options of a group were used."""
    other = argparse.ArgumentParser(add_help=False)
    add(other)
    return [name for name, default in vars(other.parse_args([])).items() if getattr(args, name) != default]


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def add_jobs_argument(parser: argparse.ArgumentParser) -> None:
    told = "phases of the sweep to train at a time, each in a process of its own (1: in this one)"
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help=told)


def config_of(args: argparse.Namespace) -> Config:
    """The config that the arguments mean.

    Raises:
        UserError: what `config.load` refuses.
    """
    return config_at(Path(args.config), args.overrides)


def job_config(args: argparse.Namespace) -> Config:
    """`config_of`, for a command that computes: a mistake is told at once, then the other processes are waited for."""
    config = config_of(args)
    from splitjax.parallel import join_cluster, keep_freed_memory

    keep_freed_memory()
    if join_cluster():
        _keep_stdout()
    return config


def _keep_stdout() -> None:
    """Standard output is for our results: what C libraries print there (Gloo greets each peer) goes to stderr."""
    sys.stdout.flush()
    ours, encoding = os.dup(1), sys.stdout.encoding
    os.dup2(2, 1)
    sys.stdout = open(ours, "w", encoding=encoding, errors=_ERRORS)  # noqa: SIM115 - for the life of the process


def keep_json_alone() -> None:
    """Standard output is for the JSON: whatever a library prints there goes to stderr."""
    global _results
    if sys.stdout is sys.__stdout__:  # not one that a notebook or a test has put there
        _keep_stdout()
        _results, sys.stdout = sys.stdout, sys.stderr


def open_streams() -> None:
    """Standard streams that can be written to, whatever they can spell and whether they were closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def speaks() -> bool:
    """Whether this process prints results: of several, the first."""
    from splitjax.parallel import hosts

    return hosts.first()


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the functions of `stages`."""
    return {"redo": getattr(args, "redo", None), "command": f"splitjax {shlex.join(sys.argv[1:])}"}


def print_json(value: Any, *, line: bool = False) -> None:
    """JSON alone, which any reader takes: ASCII where the output has no more, what a terminal would obey spelt out.

    Args:
        line: on one line, for one of many.
    """
    out = _results or sys.stdout
    plain = (getattr(out, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
    text = json.dumps(value, indent=None if line else 1, ensure_ascii=plain)
    _write(re.sub("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", _escaped, text) + "\n", out)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def say(text: str, end: str = "\n") -> None:
    """Text for people on standard output; what a terminal would obey is shown."""
    _write(shown(text, lines=True) + end, sys.stdout)


def _write(text: str, out: TextIO) -> None:
    """Raises BrokenPipeError where nobody reads, or the disk of the file is full."""
    try:
        out.write(text)
        out.flush()
    except OSError as error:
        raise BrokenPipeError from error


def print_tables(tables: Iterable[Any]) -> None:
    """Rich tables on standard output, 80 columns wide wherever that goes, with every number whole."""
    from splitjax.reporting.narrow import console, narrow

    out = console()
    for table in tables:
        out.print(narrow(table))
