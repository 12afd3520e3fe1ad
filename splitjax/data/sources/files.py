"""Files named by a path, a folder or a glob."""

from __future__ import annotations

import glob
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from splitjax.config import UserError


def find(pattern: str, key: str = "data.sources.path") -> list[str]:
    """Sorted files that `pattern` names.

    Raises:
        UserError: none.
    """
    found = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())
    if not found:
        raise UserError("no such file", where=pattern, mend=f"Check {key}; it is relative to the working directory.")
    return found


def lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Numbered lines (from 1) of a plain or .gz file, without their line ends.

    Raises:
        UserError: unreadable or truncated; names the file.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip(b"\r\n")
    except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
        raise UserError(f"cannot be read after line {number} ({error})", where=path) from error
