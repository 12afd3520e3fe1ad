"""Files named by a path, a folder or a glob, plain or compressed."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO, Any

from splitjax.config import UserError, find_files, open_read


def find(pattern: str, inside: str = "*") -> list[str]:
    """Sorted files that `pattern` names; of a folder, all below it whose names match `inside`.

    Raises:
        UserError: none.
    """
    try:
        found = find_files(pattern, inside)
    except OSError as error:
        raise UserError(f"cannot be listed ({error})", where=pattern) from error
    if not found:
        raise UserError("no such file", where=pattern, mend="Paths are relative to the working directory.")
    return found


@contextlib.contextmanager
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


@contextlib.contextmanager
def _open(path: str) -> Iterator[IO[bytes]]:
    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(open_read(path))
        if path.endswith(".gz"):
            file = stack.enter_context(gzip.open(file, "rb"))
        elif path.endswith(".zst"):
            import pyarrow

            file = stack.enter_context(io.BufferedReader(pyarrow.CompressedInputStream(file, "zstd")))
        yield file


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
