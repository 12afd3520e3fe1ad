"""The record that makes a checkpoint one: written last, it holds what the checkpoint is and a hash of every file.

A folder without a record is what a killed save left behind. Orbax itself does not notice a flipped bit in array data,
so nothing is read whose hash does not match.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import jax
from pydantic import Field
from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import ReadError, UserError, hash_file, read_record, write_record

from . import store

FORMAT = "splitjax.checkpoint"
VERSION = 1
RECORD = "checkpoint.json"
STATE = "state"
BEFORE = "skipped_before"
"""In a checkpoint's meta: the steps that each expert had skipped when the phase began."""
IDENTITY = "identity"
"""In a checkpoint's meta: what the numbers of its phase depend on, see `runs.phase_record`."""
TEMPORARY, REGULAR = "temporary", "regular"
MEND = "Remove this checkpoint's folder and run again: it is made anew from the one before."


class _Meta(TypedDict):
    experts: Annotated[int, Field(ge=1, lt=1 << 20)]


class _Leaf(TypedDict):
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=1 << 48)]], Field(min_length=1)]
    dtype: str


class _Part(TypedDict):
    at: Annotated[int, Field(ge=0)]
    hash: str


class _Set(TypedDict):
    meta: _Meta
    leaves: dict[str, _Leaf]
    parts: list[_Part]


class _Whole(TypedDict):
    meta: _Meta
    leaves: dict[str, _Leaf]
    files: dict[str, str]


def name_of(tokens: int) -> str:
    """Folder name of a checkpoint; names sort like tokens."""
    return f"{tokens:015d}"


def write(folder: Path, leaves: dict[str, Any], meta: dict[str, Any]) -> None:
    """Commit a checkpoint whose arrays are complete in `folder`/state."""
    files = store.files_of(folder / STATE)
    hashes = dict(zip(files, _hashes(folder / STATE, files), strict=True))
    _commit(folder, {"meta": meta, "leaves": leaves, "files": hashes})


def write_set(folder: Path, parts: Sequence[Path]) -> None:
    """Commit a checkpoint whose experts are checkpoints of their own, expert k in `part_of(folder, k, …)`."""
    kept = [read(part) for part in parts]
    for one, part in zip(kept, parts, strict=True):
        must_belong(one["meta"], kept[0]["meta"].get(IDENTITY), part)
    of_one = ("expert", "rollback")
    meta = {key: value for key, value in kept[0]["meta"].items() if key not in of_one} | {"experts": len(parts)}
    lineages = [one["meta"].get("lineage") or {} for one in kept]
    if rollbacks := [told for lineage in lineages for told in lineage.get("rollbacks", [])]:
        meta["lineage"] = lineages[0] | {"rollbacks": sorted(rollbacks, key=lambda told: (told["at"], told["expert"]))}
    if all(BEFORE in one["meta"] for one in kept):
        meta[BEFORE] = [count for one in kept for count in one["meta"][BEFORE]]
    content = {
        "meta": meta,
        "leaves": kept[0]["leaves"],
        "parts": [{"at": int(part.name), "hash": one["hash"]} for part, one in zip(parts, kept, strict=True)],
    }
    _commit(folder, content)


def part_of(folder: Path, expert: int, name: str) -> Path:
    """Where expert k of a set lies: phase/expert-k/checkpoints/<name> for the set phase/checkpoints/<tokens>."""
    return folder.parent.parent / f"expert-{expert}" / folder.parent.name / name


def _commit(folder: Path, content: dict[str, Any]) -> None:
    record = {"format": FORMAT, "version": VERSION, "versions": {"jax": jax.__version__}} | content
    write_record(folder / RECORD, record)


def read(folder: Path) -> dict[str, Any]:
    """The record of a checkpoint, its own hash checked.

    Raises:
        UserError: no checkpoint, another version, or a damaged record.
    """
    where = str(folder / RECORD)
    if not is_there(folder / RECORD):
        raise UserError("no complete checkpoint in this folder", where=str(folder))
    expected = {"format": FORMAT, "version": VERSION}
    record = read_record(folder / RECORD, "the record of a checkpoint", expected, MEND, _Set | _Whole)
    for name in (*record.get("leaves", ()), *record.get("files", ())):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"the record names a file outside its checkpoint ('{name}')", where=where)
    return record


def is_there(path: Path) -> bool:
    """Whether there is such a file. What the system does not say is not "no": the file may be whole.

    Raises:
        ReadError: it cannot be told.
    """
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror or error})", where=str(path)) from error


def kind(folder: Path) -> str | None:
    """For how long a checkpoint was saved ("temporary": to resume from; "regular": `train.keep_every`; None: for
    good); a damaged record is left for its reader to name."""
    try:
        meta = read(folder)["meta"]
    except UserError:
        return None
    return next((kind for kind in (TEMPORARY, REGULAR) if meta.get(kind)), None)


def must_belong(meta: Mapping[str, Any], identity: str | None, folder: Path) -> None:
    """Refuse a checkpoint that says of itself that another phase made it.

    Args:
        identity: of the phase that would read it, if it has one. Checkpoints older than the word have none.

    Raises:
        UserError: it is another's.
    """
    if identity is not None and meta.get(IDENTITY, identity) != identity:
        raise UserError("a checkpoint of another run or phase, copied here", where=str(folder), mend="Remove it.")


def rows(folder: Path, record: dict[str, Any], experts: Sequence[int]) -> list[store.Row]:
    """Where these experts lie on disk, every file of theirs hashed.

    Raises:
        UserError: names the first file that is missing or differs.
    """
    if "parts" not in record:
        everything = set(experts) == set(range(record["meta"]["experts"]))
        _verify(folder, record, None if everything else experts)
        return [(folder / STATE, expert) for expert in experts]
    parts = {k: part_of(folder, k, name_of(int(record["parts"][k]["at"]))) for k in set(experts)}
    for expert, part in parts.items():
        kept = read(part)
        if kept["hash"] != record["parts"][expert]["hash"]:
            raise UserError("not the checkpoint that this set was made of", where=str(part))
        _verify(part, kept, None)
    return [(parts[expert] / STATE, 0) for expert in experts]


def _verify(folder: Path, record: dict[str, Any], experts: Sequence[int] | None) -> None:
    """Hash the files that a read of `experts` (None: everything) touches."""
    files: dict[str, str] = record["files"]
    wanted = list(files) if experts is None else store.needed_files(list(files), record["leaves"], experts)
    missing = [file for file in wanted if not is_there(folder / STATE / file)]
    if missing:
        raise UserError("file of a checkpoint is missing", where=str(folder / STATE / missing[0]), mend=MEND)
    for file, digest in zip(wanted, _hashes(folder / STATE, wanted), strict=True):
        if digest != files[file]:
            where = str(folder / STATE / file)
            raise UserError("file of a checkpoint is damaged (its hash does not match)", where=where, mend=MEND)


def _hashes(folder: Path, files: Iterable[str]) -> list[str]:
    # hashlib lets go of the interpreter lock, so threads do help here.
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda file: hash_file(folder / file), files))
