"""Checkpoints of stacks: saved in the background, committed whole, verified before they are believed.

    <folder>/<path tokens>/checkpoint.json     what it is, and a hash of every file; written last
    <folder>/<path tokens>/state/<leaf>/k.…    expert k of a leaf (Orbax zarr)

A stack whose experts were trained apart is a record alone: its experts' checkpoints lie in expert-<k> beside it.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Sharding

from splitjax.config import ReadError, UserError, disk_errors
from splitjax.parallel import hosts

from . import record, store
from .stack import Stack

LeafSharding = Callable[[str, tuple[int, ...]], Sharding]
"""(leaf name, its shape with the expert axis) → where it goes."""

MOMENTS = {"mu", "nu"}
log = logging.getLogger("splitjax")


class Background:
    """One thread, and what writes arrays on it; opened when first asked for."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saver: store.Saver | None = None

    @property
    def saver(self) -> store.Saver:
        self._saver = self._saver or store.Saver()
        return self._saver

    def close(self) -> None:
        """Wait for what is under way, and let go of it."""
        self.pool.shutdown()
        if self._saver is not None:
            # It tells again, in its own words, what the save under way has told us.
            with contextlib.suppress(OSError, ValueError):
                self._saver.close()


class Writer:
    """Saves checkpoints of one phase into one folder; the only writer of that folder.

    Opening it removes what a killed save left behind. An error of a background save is raised by the next call.

    Args:
        folder: holds one folder a checkpoint, named by path tokens.
        beside: of phases that train side by side: what writes for all of them. Temporary checkpoints then stay until
            `drop_temporary`: a phase goes on from where those beside it stand.
    """

    def __init__(self, folder: Path, beside: Background | None = None) -> None:
        self.folder, self._beside, self._writes = folder, beside, beside or Background()
        self._pending: Future[None] | None = None
        if hosts.first():
            _remove_leftovers(folder)
        hosts.meet(f"opened {folder.name}")

    def save(
        self, tokens: int, stack: Stack, meta: dict[str, Any], *, temporary: bool = False, last: int | None = None
    ) -> Path:
        """Begin to save `stack` as checkpoint `tokens`; returns when the arrays may be donated.

        Waits for a save still under way: Orbax would skip this one without a word. Beside other phases it returns at
        once and the arrays must be a copy that nobody donates.

        Args:
            temporary: the next checkpoint, once it is committed, takes this one's place.
            last: of the checkpoints that were saved with this, so many stay.

        Raises:
            UserError: the save before this one failed, or this one cannot begin.
        """
        self.wait()
        target = self.folder / record.name_of(tokens)
        tree = tree_of(stack)
        kind = record.TEMPORARY if temporary else record.REGULAR if last else None
        meta = meta | {"experts": stack.experts} | ({kind: True} if kind else {})
        if self._beside:
            self._pending = self._writes.pool.submit(self._write, target, tree, meta, last)
            return target
        hosts.meet(f"to save {target.name}")
        hosts.from_first(lambda: _make_room(target, store.size_on_disk(tree)))
        self._begin(target, tree)
        self._pending = self._writes.pool.submit(self._commit, target, _shapes(tree), meta, last)
        return target

    def _write(self, target: Path, tree: dict[str, Any], meta: dict[str, Any], last: int | None) -> None:
        """A whole save, on the thread of all phases; Orbax writes what lies on the host in half the time."""
        tree = jax.tree.map(np.asarray, tree)
        _make_room(target, store.size_on_disk(tree))
        self._begin(target, tree)
        self._commit(target, _shapes(tree), meta, last)

    def _begin(self, target: Path, tree: dict[str, Any]) -> None:
        try:
            self._writes.saver.save(target / record.STATE, tree)
        except OSError as error:
            _remove(target)
            raise _not_written(target, error) from error

    def check(self) -> None:
        """Raise the error of a background save that has failed; cheap enough for every step."""
        if self._pending is not None and self._pending.done() and self._pending.exception() is not None:
            self.wait()

    def wait(self) -> None:
        """Until the save under way is committed, by all processes; raises its error."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
            hosts.meet("saved")

    def close(self) -> None:
        """Finish the save under way and let go of the threads."""
        try:
            self.wait()
        finally:
            if not self._beside:
                self._writes.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _commit(self, target: Path, leaves: dict[str, Any], meta: dict[str, Any], last: int | None) -> None:
        try:
            self._writes.saver.wait()
            if hosts.first():
                record.write(target, leaves, meta)
                self._drop(int(target.name), last)
        except Exception as error:
            _remove(target)  # half a checkpoint on a full disk keeps the disk full
            if isinstance(error, jax.errors.JaxRuntimeError):  # another process is gone: no fault of the disk
                raise
            raise _not_written(target, error) from error

    def _drop(self, tokens: int, last: int | None) -> None:
        """Remove what the checkpoint at `tokens` has made useless: temporary ones, and regular ones too many."""
        if not self._beside:
            self.drop_temporary(tokens)
        for mark in self._saved_as(record.REGULAR, tokens + 1)[:-last] if last else ():
            _remove(at(self.folder, mark))

    def drop_temporary(self, below: int) -> None:
        """Remove the temporary checkpoints that a newer one has made useless."""
        for mark in self._saved_as(record.TEMPORARY, below):
            _remove(at(self.folder, mark))

    def _saved_as(self, kind: str, below: int) -> list[int]:
        return [mark for mark in saved(self.folder) if mark < below and record.kind(at(self.folder, mark)) == kind]


def save(folder: Path, tokens: int, stack: Stack, meta: dict[str, Any]) -> Path:
    """Save one checkpoint and wait for it."""
    with Writer(folder) as writer:
        return writer.save(tokens, stack, meta)


def restore(
    folder: Path, experts: Sequence[int] | None = None, sharding: LeafSharding | None = None
) -> tuple[Stack, dict[str, Any]]:
    """Read a checkpoint, leaf by leaf, into the devices.

    Args:
        folder: one checkpoint (see `at`, `latest`).
        experts: rows wanted, in order; one may be given many times (that is the split). None: all.
        sharding: where each leaf goes (None: the first device). The mesh that saved it does not matter.

    Returns:
        The stack and the meta data given at the save (with "experts": K of the checkpoint). The moments are empty where
        none were kept.

    Raises:
        UserError: not a checkpoint, damaged (names the file), or an expert it does not have.
    """
    tree, meta = _restore(Path(folder), experts, sharding, "")
    return Stack(**{"mu": {}, "nu": {}} | tree), meta


def restore_params(
    folder: Path, experts: Sequence[int] | None = None, sharding: LeafSharding | None = None
) -> dict[str, Any]:
    """`restore` of the parameters alone, leaving the moments on disk."""
    return _restore(Path(folder), experts, sharding, "params.")[0]["params"]


def _restore(
    folder: Path, experts: Sequence[int] | None, sharding: LeafSharding | None, prefix: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    found, meta = leaves(folder, experts, sharding, prefix)
    return store.nest(dict(found)), meta


def leaves(
    folder: Path, experts: Sequence[int] | None, sharding: LeafSharding | None, prefix: str = ""
) -> tuple[Iterator[tuple[str, Array]], dict[str, Any]]:
    """`restore` as (name, array) leaf by leaf, read when asked for, and the meta data; all files are verified first.

    Args:
        prefix: of the names wanted.
    """
    kept = record.read(folder)
    k = kept["meta"]["experts"]
    wanted = list(range(k)) if experts is None else list(experts)
    if not wanted or not all(0 <= expert < k for expert in wanted):
        raise UserError(f"experts {wanted} asked for; it holds {k}", where=str(folder))
    rows = record.rows(folder, kept, wanted)

    def leaf(name: str, about: dict[str, Any]) -> Array:
        place = sharding(name, (len(rows), *about["shape"][1:])) if sharding else None
        try:
            return store.read(rows, name, place)
        except (ValueError, KeyError, IndexError) as error:  # hashes match: the record itself is false
            first = (str(error).splitlines() or [""])[0]
            raise UserError(f"leaf '{name:.60}' cannot be read ({first:.200})", where=str(folder)) from None

    fields = {name.partition(".")[0] for name in kept["leaves"]}
    if set(Stack.__dataclass_fields__) - fields not in (set(), MOMENTS):
        raise UserError("its leaves are not those of a stack", where=str(folder / record.RECORD), mend=record.MEND)
    chosen = {name: about for name, about in kept["leaves"].items() if name.startswith(prefix)}
    return ((name, leaf(name, about)) for name, about in chosen.items()), kept["meta"]


def parameters(folder: Path, expert: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """The parameters alone of one expert, leaf by leaf, on the host: (path, array without the expert axis).

    Raises:
        UserError: as `restore`, before the first leaf.
    """
    kept = record.read(Path(folder))
    if not 0 <= expert < kept["meta"]["experts"]:
        raise UserError(f"expert {expert} asked for; it holds {kept['meta']['experts']}", where=str(folder))
    (row,) = record.rows(Path(folder), kept, [expert])
    names = [name for name in kept["leaves"] if name.startswith("params.")]
    return ((tuple(name.split(".")[1:]), store.read_row(row, name)) for name in names)


def about(folder: Path) -> dict[str, Any]:
    """What was saved beside the arrays, with the checkpoint's own "hash"; reads no array.

    Raises:
        UserError: not a checkpoint.
    """
    kept = record.read(Path(folder))
    return kept["meta"] | {"hash": kept["hash"]}


def restore_latest(
    folder: Path, sharding: LeafSharding | None = None, at_most: int | None = None, identity: str | None = None
) -> tuple[Stack, dict[str, Any], int] | None:
    """The newest checkpoint of a phase that verifies, or None; says which ones it had to pass over.

    Args:
        at_most: none beyond these path tokens (None: no limit).
        identity: of the phase that they must be of.

    Returns:
        (stack, meta, path tokens).

    Raises:
        UserError: as `restore_sound`.
    """
    for tokens in reversed(saved(folder)):
        if at_most is not None and tokens > at_most:
            continue
        if found := restore_sound(at(folder, tokens), identity, sharding):
            return *found, tokens
    return None


def restore_sound(
    folder: Path, identity: str | None, sharding: LeafSharding | None = None
) -> tuple[Stack, dict[str, Any]] | None:
    """One checkpoint of a phase with its meta; None, told in the log, if it is damaged.

    Raises:
        ReadError: it cannot be read, and may be whole, so nothing may take its place.
        UserError: it is of another phase.
    """
    try:
        stack, meta = restore(folder, sharding=sharding)
    except ReadError:
        raise
    except UserError as damage:
        log.warning("%s: passed over, the checkpoint before it is used", damage)
        return None
    record.must_belong(meta, identity, folder)
    return stack, meta


def at(folder: Path, tokens: int) -> Path:
    """The checkpoint of a phase at `tokens`."""
    return Path(folder) / record.name_of(tokens)


def saved(folder: Path) -> list[int]:
    """Path tokens of the committed checkpoints in a folder, ascending (not verified)."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir() if record.is_there(path / record.RECORD))
    return sorted(int(name) for name in names if name.isdigit())


def belongs(folder: Path, identity: str, expert: int | None = None) -> Path:
    """A checkpoint's folder, if the phase of this identity made it; one not there is left to its reader.

    Args:
        expert: whose own checkpoint is meant too, where it was trained apart.

    Raises:
        UserError: another made it, or its record is damaged.
    """
    parts = [] if expert is None else [record.part_of(folder, expert, folder.name)]
    for path in (folder, *parts):
        if record.is_there(path / record.RECORD):
            record.must_belong(record.read(path)["meta"], identity, path)
    return folder


def last_meta(folder: Path) -> dict[str, Any]:
    """What the last checkpoint of a phase says of itself; empty where there is none, or a damaged one."""
    tokens = saved(folder)
    try:
        meta: dict[str, Any] = record.read(at(folder, tokens[-1]))["meta"] if tokens else {}
    except UserError:  # named, and passed over, by whoever restores it
        return {}
    return meta


def tree_of(stack: Stack) -> dict[str, Any]:
    """Its leaves by the names that checkpoints give them; moments that are not kept have none."""
    tree = {name: getattr(stack, name) for name in stack.__dataclass_fields__}
    return {name: leaf for name, leaf in tree.items() if not isinstance(leaf, dict) or leaf}


def _remove_leftovers(folder: Path) -> None:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir() and not record.is_there(path / record.RECORD):
            _remove(path)


def _remove(folder: Path) -> None:
    # The record goes first: from then on the folder is no checkpoint, whatever interrupts the rest.
    (folder / record.RECORD).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _make_room(target: Path, needed: int) -> None:
    """An empty folder for a save of `needed` bytes.

    Asked beforehand: where a write fails halfway, Orbax and the threads of TensorStore tell it too, in many words.

    Raises:
        UserError: the folder cannot be made, or the disk has not the room.
    """
    _remove(target)  # one that was found damaged: a record must never stand beside arrays of another save
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        disk = shutil.disk_usage(target.parent)
    if disk.total and disk.free < needed:  # some network file systems do not say: total 0
        _remove(target)
        lacks = f"No space left on device: needs {needed / 1e6:.1f} MB, has {disk.free / 1e6:.1f} MB"
        raise _not_written(target, OSError(lacks))


def _shapes(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: {"shape": leaf.shape, "dtype": str(leaf.dtype)} for name, leaf in store.flatten(tree).items()}


def _not_written(folder: Path, error: Exception) -> UserError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"checkpoint not written ({first[:200]})",
        where=str(folder),
        mend="Earlier checkpoints stand; mend it and run again.",
    )
