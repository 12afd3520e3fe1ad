"""Bash scripts as text: quoted commands, here-documents, and running one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from splitjax.config import UserError

from .quoting import quote


def line(command: Iterable[str], environment: Mapping[str, str] | None = None) -> str:
    """One command, quoted, with variables set for it alone."""
    settings = [f"{name}={quote(value)}" for name, value in (environment or {}).items()]
    return " ".join([*settings, *map(quote, command)])


def here(command: str, text: str) -> str:
    """A command that reads `text` on standard input; nothing in it is expanded."""
    mark = "EOF"
    while f"\n{mark}\n" in f"\n{text}\n":
        mark += "_"
    return f"{command} <<'{mark}'\n{text.rstrip()}\n{mark}"


def run(script: str, needs: Sequence[str] = ()) -> int:
    """Run a bash script in the foreground; signals of the terminal reach it as they reach us.

    Args:
        needs: programs that it calls.

    Raises:
        UserError: a program is missing.
    """
    for program in needs:
        if shutil.which(program) is None:
            raise UserError(f"'{program}' is not installed here", mend="Install it, or look with --dry-run.")
    child = subprocess.Popen(["bash", "-euo", "pipefail", "-c", script], env=os.environ)
    while True:
        try:
            code = child.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue  # the terminal told the script too: what it makes of that is the answer
