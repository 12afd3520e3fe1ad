"""Paths that are read: files here, or objects of a bucket (`gs://`, `s3://`) through Arrow's file systems.

Only reading. A run folder needs locks and renames that buckets do not have; it lies on a file system (a mounted
bucket is one), see `refuse_remote`.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .errors import UserError

_REMOTE = re.compile(r"([a-z][a-z0-9+.-]+)://")
SCHEMES = ("gs", "s3")
_BUFFER = 1 << 22  # bytes asked for at once: a bucket answers slowly


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether it names an object of a bucket.

    Raises:
        UserError: a scheme that nothing here reads.
    """
    found = _REMOTE.match(str(path))
    if found and found[1] not in SCHEMES:
        raise UserError(f"no {found[1]}:// paths", where=str(path), mend="gs://, s3:// and plain paths can be read.")
    return bool(found)


def refuse_remote(path: str, what: str) -> None:
    """Refuse a bucket where files are written.

    Raises:
        ValueError: it is one.
    """
    if _REMOTE.match(path):
        raise ValueError(f"{what} must lie on a file system, not at {path}: mount the bucket and give the folder")


def open_read(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open for reading bytes, with seek.

    Raises:
        OSError: as `open`; also what a bucket answers.
    """
    if not is_remote(path):
        return open(path, "rb")
    system, name = file_system(str(path))
    with _as_os_error(str(path)):
        return io.BufferedReader(system.open_input_file(name), _BUFFER)


def open_record(path: str | os.PathLike[str], most: int) -> IO[bytes]:
    """`open_read` of a file that somebody else may have put there: no device or pipe, whose end never comes.

    Args:
        most: bytes that it may hold.

    Raises:
        OSError: as `open_read`; it is no regular file, or holds more.
    """
    if not is_remote(path):
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"{about.st_size:,} bytes, more than the {most:,} that are read")
    return open_read(path)


def find_files(pattern: str, keep: Callable[[str], bool] = lambda path: True) -> list[str]:
    """Sorted files that `pattern` names: a file, a folder, or a glob where no file or folder has that very name.

    Args:
        keep: which of the files below a folder are meant.
    """
    if not is_remote(pattern):
        if Path(pattern).is_file():
            return [pattern]
        if Path(pattern).is_dir():
            return sorted(path for path in _below(pattern) if Path(path).is_file() and keep(path))
        return sorted(path for path in glob.iglob(pattern, recursive=True) if Path(path).is_file())
    from pyarrow import fs

    system, name = file_system(pattern)
    scheme = pattern[: pattern.index("://") + 3]
    with _as_os_error(pattern):
        kind = system.get_file_info(name).type
        if kind == fs.FileType.File:
            return [pattern]
        inside = kind == fs.FileType.Directory
        root = name if inside else _fixed_part(name)
        try:
            found = system.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True))
        except NotADirectoryError:
            found = []
    wanted = re.compile(f"{re.escape(name)}/{_glob_regex('**/*')}" if inside else _glob_regex(name))
    files = [each.path for each in found if each.type == fs.FileType.File and wanted.fullmatch(each.path)]
    return sorted(scheme + path for path in files if not inside or keep(path))


def _below(folder: str) -> Iterator[str]:
    """Every path below a folder but hidden ones, through links too; a folder that is met again is not entered again."""
    met = {_identity(folder)}
    for place, folders, files in os.walk(folder, followlinks=True):
        inner = {name: _identity(os.path.join(place, name)) for name in sorted(folders) if not name.startswith(".")}
        folders[:] = []
        for name, own in inner.items():
            if own not in met:
                met.add(own)
                folders.append(name)
        yield from (os.path.join(place, name) for name in files if not name.startswith("."))


def _identity(folder: str) -> tuple[int, int]:
    about = os.stat(folder)
    return about.st_dev, about.st_ino


@contextlib.contextmanager
def local_copy(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A file on this machine with the content: the file itself, or a copy that is gone afterwards.

    Raises:
        UserError: it cannot be fetched.
    """
    if not is_remote(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="splitjax-") as folder:
        copy = Path(folder, PurePosixPath(str(path)).name)
        try:
            with open_read(path) as source, open(copy, "wb") as target:
                while chunk := source.read(_BUFFER):
                    target.write(chunk)
        except OSError as error:
            raise UserError(f"cannot be read ({error})", where=str(path)) from error
        yield copy


def file_system(path: str) -> tuple[Any, str]:
    """Arrow's file system of a remote path, and the path in it; credentials are the environment's own."""
    from pyarrow import fs

    with _as_os_error(path):
        found: tuple[Any, str] = fs.FileSystem.from_uri(path)
    return found


@contextlib.contextmanager
def _as_os_error(path: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from error


def _fixed_part(pattern: str) -> str:
    """The folder above the first wildcard."""
    parts = pattern.split("/")
    fixed = next((index for index, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
    return "/".join(parts[:fixed])


def _glob_regex(pattern: str) -> str:
    """As `glob` means it: `**` any folders, `*` and `?` within one name, hidden names only when spelt."""
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append(r"(?:(?!\.)[^/]+/)*")
            continue
        words = re.findall(r"\[!?\]?[^\]]*\]|.", part)
        hidden = r"(?!\.)" if words and words[0][0] in "*?[" else ""
        parts.append(hidden + "".join(map(_glob_word, words)) + "/")
    return "".join(parts).removesuffix("/")


def _glob_word(word: str) -> str:
    if word in ("*", "?"):
        return "[^/]*" if word == "*" else "[^/]"
    if len(word) > 1:
        return "[" + word[1:-1].replace("\\", "\\\\").replace("[", "\\[").replace("!", "^", word[1] == "!") + "]"
    return re.escape(word)
