"""Files written whole or not at all, and hashes of what they hold."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import ReadError, UserError
from .paths import is_remote, open_record

_MOST_JSON = 1 << 28
_MOST = 1 << 62
_MEND = "Free space or pick another run_dir."


def write_atomic(path: str | os.PathLike[str], data: str | bytes) -> None:
    """Write `data` so that a reader sees the old file or the new one, never a part.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    check_target(path)
    path = Path(path)
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data  # half a surrogate as \ud800
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=str(path), mend=_MEND) from error
    finally:
        with contextlib.suppress(OSError):  # gone after the rename; after a fault or Ctrl-C nothing is left behind
            temporary.unlink()


def beside(path: Path, ending: str = "tmp") -> Path:
    """A hidden name in the same folder that no other process takes, on whatever machine or in whatever container.

    Process ids are no such names, and one made of `path`'s own may be too long for a file system.
    """
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.{ending}")


def check_target(path: str | os.PathLike[str]) -> None:
    """Refuse a place that no file can take: worth asking before what is to be written has been computed.

    Raises:
        UserError: a bucket, a folder, a device or a pipe, a name that no system takes, or a place in no folder.
    """
    if is_remote(path):
        raise UserError("a bucket is only read here", where=str(path), mend="Write to a file, or mount the bucket.")
    mend, where = "Give the name of a file.", str(path)
    try:
        os.lstat(path)
    except FileNotFoundError:
        above = next(each for each in Path(path).absolute().parents if os.path.lexists(each))
        if not above.is_dir():
            raise UserError(f"cannot be written ({above} is no folder)", where=where, mend=mend) from None
        return
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot be written ({what})", where=repr(where), mend=mend) from None
    if os.path.isdir(path):
        raise UserError("is a folder", where=where, mend=mend)
    if not os.path.isfile(path):
        raise UserError("is a device, a pipe or a link to nothing", where=where, mend=mend)


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@contextlib.contextmanager
def disk_errors(where: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever a disk refuses in the block (full, read-only, not ours) as one line with the file's name.

    Args:
        where: what to name where the system names no file.

    Raises:
        UserError: the disk refused.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        place = str(error.filename or where)
        raise UserError(f"cannot be written ({error.strerror})", where=place, mend=_MEND) from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Atomic, indented, non-ASCII kept; NaN and infinity become null so that any reader can parse it."""
    write_atomic(path, json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Parse a JSON file.

    Raises:
        ReadError: the system does not give it out.
        UserError: missing or not JSON.
    """
    try:
        with open_record(path, _MOST_JSON) as file:
            return json.loads(file.read().decode())
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except OSError as error:
        raise ReadError(f"not readable as JSON ({error})", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"not readable as JSON ({error})", where=str(path)) from error


def write_record(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """`write_json` of a mapping that carries its own hash, which `read_record` checks."""
    told = json.loads(json.dumps(_finite(record)))  # hash what a reader sees: JSON has no tuples
    write_json(path, told | {"hash": hash_json(told)})


def read_record(
    path: str | os.PathLike[str], what: str, expected: Mapping[str, Any], mend: str = "", shape: Any = None
) -> dict[str, Any]:
    """What `write_record` wrote.

    Args:
        what: "a plan", "a law" …, for messages.
        expected: fields that say what it is and of which version, with the values that the caller can read.
        mend: what to do about a damaged one.
        shape: a type that pydantic can check it against: a hash keeps accidents out, not forgers.

    Raises:
        UserError: missing, unreadable, something else, of another version, of another shape, or its hash does not
            match.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise UserError(f"not {what} but {type(record).__name__}", where=str(path), mend=mend)
    for key, value in expected.items():
        if record.get(key) != value:
            found = f"{record.get(key)!r:.40}"
            raise UserError(f"not {what} of {key} {value} (this one: {found})", where=str(path), mend=mend)
    try:
        own = hash_json({key: value for key, value in record.items() if key != "hash"})
    except RecursionError:
        raise UserError("damaged (too deep)", where=str(path), mend=mend) from None
    if record.get("hash") != own:
        raise UserError("damaged or edited (its hash does not match)", where=str(path), mend=mend)
    if shape is not None:
        check_shape(record, shape, str(path), mend)
    return record


def check_shape(value: Any, shape: Any, where: str, mend: str = "") -> Any:
    """`value`, read from JSON, as a `shape` (lists become tuples and dicts dataclasses where that asks for them).

    Raises:
        UserError: it does not fit; names the first part that does not.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(shape).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        part = ".".join(map(str, first["loc"]))[:100]
        told = f"{part}: {first['msg']:.200}".removeprefix(': ')
        raise UserError(f"damaged ({told})", where=where, mend=mend) from None


def hash_json(value: Any) -> str:
    """A short stable hash of a JSON-able value (keys sorted)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def hash_file(path: str | os.PathLike[str]) -> str:
    """Blake2b of a file's bytes, 128 bits.

    Raises:
        ReadError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open_record(path, _MOST) as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror or error})", where=str(path)) from error
    return digest.hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
