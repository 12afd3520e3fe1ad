"""Files named by a path, a folder or a glob, plain or compressed."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

from splitjax.config import UserError, find_files, open_read

_BOM = b"\xef\xbb\xbf"
# What each compression ends a name with, and what its content begins with.
_COMPRESSED = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00"}
_CHUNK = 1 << 20
MOST_BYTES = 1 << 30
"""Of a document, unpacked: what is longer is no text but a hole, a binary file or a bomb, and would take all memory."""
_BZ2_BLOCK = b"1AY&SY"
_LEFT_BEHIND = (".bak", ".tmp", ".part", ".swp", "~")


def find(pattern: str, endings: Sequence[str] = ()) -> list[str]:
    """Sorted files that `pattern` names; of a folder, all below it that end so, in capitals or not.

    Args:
        endings: ".jsonl", …; none: every file but what an editor or a download has left behind.

    Raises:
        UserError: none.
    """

    def keep(path: str) -> bool:
        name = path.lower()
        return name.endswith(tuple(endings)) if endings else not name.endswith(_LEFT_BEHIND)

    try:
        found = find_files(pattern, keep)
    except OSError as error:
        raise UserError(f"cannot be listed ({error})", where=pattern) from error
    if not found:
        plain = [ending for ending in endings if not ending.endswith(tuple(_COMPRESSED))]
        read = f" Of a folder, names ending in {', '.join(plain)} are read" if plain else ""
        read += ", compressed too." if len(plain) < len(endings) else "." if plain else ""
        raise UserError("no such file", where=pattern, mend=f"Paths are relative to the working directory.{read}")
    return found


def packed(*endings: str) -> tuple[str, ...]:
    """Each ending plain and behind that of every compression."""
    return tuple(ending + more for ending in endings for more in ("", *_COMPRESSED))


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is gzip, zstd, bzip2 or xz, from behind a byte order mark.

    Its first bytes decide, so a name need not tell; a name that tells of a compression must be right.

    Raises:
        UserError: unreadable, truncated, or not what its name says; names the file.
    """
    try:
        with _open(path) as file:
            yield file
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise UserError(f"cannot be read to its end ({error})", where=path) from error


@contextlib.contextmanager
def _open(path: str) -> Iterator[IO[bytes]]:
    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(open_read(path))
        if kind := _compression(file, path):
            file = stack.enter_context(_unpacked(file, kind))
        if not file.peek(len(_BOM)).startswith(_BOM):
            yield file
            return
        file.read(len(_BOM))
        yield file


def _compression(file: IO[bytes], path: str) -> str | None:
    """The ending that stands for what the file's first bytes are; None for plain bytes."""
    head = file.peek(10)[:10]  # type: ignore[attr-defined]
    found = next((ending for ending, magic in _COMPRESSED.items() if head.startswith(magic)), None)
    if found == ".bz2" and head[4:] != _BZ2_BLOCK[: len(head[4:])]:
        found = None  # a text that begins with these letters
    told = next((ending for ending in _COMPRESSED if path.lower().endswith(ending)), None)
    if told is not None and told != found and head:
        raise OSError(f"not {told.removeprefix('.')}")
    return found


def _unpacked(file: Any, ending: str) -> Any:
    if ending == ".gz":
        return gzip.open(file, "rb")
    if ending == ".bz2":
        return io.BufferedReader(bz2.open(file, "rb"))
    if ending == ".xz":
        return io.BufferedReader(lzma.open(file, "rb"))
    import pyarrow

    return io.BufferedReader(pyarrow.CompressedInputStream(file, "zstd"))


def lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Numbered lines (from 1), without their line ends."""
    with opened(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(MOST_BYTES + 1), b""), 1):
            yield number, _bounded(line, f"{path}:{number}", "lines").rstrip(b"\r\n")


def whole(path: str) -> bytes:
    """All bytes of a file, unpacked."""
    with opened(path) as file:
        return _bounded(file.read(MOST_BYTES + 1), path, "files, or document: line")


def _bounded(data: bytes, where: str, shorter: str) -> bytes:
    if len(data) > MOST_BYTES:
        raise UserError(f"a document of more than {MOST_BYTES >> 20} MiB", where=where, mend=f"Use shorter {shorter}.")
    return data


def check_text(data: bytes, where: str) -> None:
    """Refuse bytes that are not UTF-8; a long text is not decoded whole, which would take up to four times its size.

    Raises:
        UserError: as `as_text`.
    """
    decoder, at = codecs.getincrementaldecoder("utf-8")(), 0
    while True:
        held = len(decoder.getstate()[0])
        try:
            decoder.decode(data[at : at + _CHUNK], final=at + _CHUNK >= len(data))
        except UnicodeDecodeError as error:
            raise UserError(f"not UTF-8 ({error.reason} at byte {at - held + error.start})", where=where) from None
        if (at := at + _CHUNK) >= len(data):
            return


def as_text(data: bytes, where: str) -> str:
    """UTF-8 bytes as text.

    Raises:
        UserError: not UTF-8; names the place.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 ({error.reason} at byte {error.start})", where=where) from None
