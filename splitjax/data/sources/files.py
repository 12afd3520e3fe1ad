"""Files named by a path, a folder or a glob, plain or compressed."""

from __future__ import annotations

import glob
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from splitjax.config import UserError


def find(pattern: str, inside: str = "*") -> list[str]:
    """Sorted files that `pattern` names; of a folder, all below it whose names match `inside`.

    Raises:
        UserError: none.
    """
    pattern = str(Path(pattern, "**", inside)) if Path(pattern).is_dir() else pattern
    found = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())
    if not found:
        raise UserError("no such file", where=pattern, mend="Paths are relative to the working directory.")
    return found


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a plain, .gz or .zst file.

    Raises:
        UserError: unreadable or truncated; names the file.
    """
    try:
        with _open(path) as file:
            yield file
    except (EOFError, zlib.error, OSError) as error:
        raise UserError(f"cannot be read to its end ({error})", where=path) from error


def _open(path: str) -> Any:
    if path.endswith(".gz"):
        return gzip.open(path, "rb")
    if path.endswith(".zst"):
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(path), "zstd"))
    return open(path, "rb")


def lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Numbered lines (from 1), without their line ends."""
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip(b"\r\n")


def as_text(data: bytes, where: str) -> str:
    """UTF-8 bytes as text.

    Raises:
        UserError: not UTF-8; names the place.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 ({error.reason} at byte {error.start})", where=where) from None
