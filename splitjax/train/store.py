"""Arrays on disk: Orbax writes them, TensorStore reads them. The only module that knows either.

Layout: one zarr folder a leaf (Orbax without OCDBT, not compressed), chunked so that a file holds rows of one expert
and its name begins with that expert's index. So a stack is one checkpoint, and expert k of it can be verified and
read without touching the others.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Sharding

Tree = Any


_BLOCK = 4096
"""Bytes that a file takes at least on common file systems."""


def size_on_disk(tree: Tree) -> int:
    """Bytes that a save of these arrays takes: a file for each expert and leaf, and what is noted of a leaf.

    At most so many on one device; every further shard of a leaf is a file of its own and may add a block.
    """

    def of(leaf: Array) -> int:
        rows = leaf.shape[0]
        return _BLOCK * (2 + rows * -(-leaf.nbytes // rows // _BLOCK))

    return 16 * _BLOCK + sum(map(of, jax.tree.leaves(tree)))


class Saver:
    """Asynchronous saves, one at a time. Orbax is imported here: half a second nobody else needs to pay."""

    def __init__(self) -> None:
        import orbax.checkpoint as ocp

        logging.getLogger("absl").addFilter(_no_noise)
        self._ocp = ocp
        self._checkpointer = ocp.AsyncCheckpointer(
            ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=False, use_compression=False)
        )

    def save(self, folder: Path, tree: Tree) -> None:
        """Copy the arrays off the devices and return; they are written in the background.

        After the return the arrays may be donated. `folder` appears under its name when it is complete.
        """
        arguments = jax.tree.map(self._chunk_by_expert, tree)
        self._checkpointer.save(folder.absolute(), args=self._ocp.args.PyTreeSave(tree, save_args=arguments))

    def wait(self) -> None:
        """Until the save under way is on disk; raises what it raised."""
        self._checkpointer.wait_until_finished()

    def close(self) -> None:
        self._checkpointer.close()

    def _chunk_by_expert(self, leaf: Array | np.ndarray) -> Any:
        shard = leaf.shape if isinstance(leaf, np.ndarray) else leaf.sharding.shard_shape(leaf.shape)
        row_bytes = int(np.prod(shard[1:], dtype=np.int64)) * leaf.dtype.itemsize
        return self._ocp.SaveArgs(chunk_byte_size=row_bytes, shard_axes=(0,))


def _no_noise(line: logging.LogRecord) -> bool:
    """Drop what Orbax says of itself: warnings about small chunks and no OCDBT, and errors, which it raises as well.

    The logger belongs to others too: what they say passes.
    """
    meant = ("Setting the target_byte_size", "[process=%s][thread=%s] Skipping merge")
    told_twice = line.levelno >= logging.ERROR and "orbax" in line.pathname
    return not told_twice and not str(line.msg).startswith(meant)


def files_of(folder: Path) -> list[str]:
    """Every file below `folder`, as sorted relative paths."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def needed_files(files: Sequence[str], leaves: Sequence[str], experts: Sequence[int]) -> list[str]:
    """Those of `files` that a read of these experts of these leaves touches."""
    rows = {str(expert) for expert in experts}

    def needed(file: str) -> bool:
        leaf, _, name = file.partition("/")
        return leaf in leaves and (name.startswith(".z") or name.split(".")[0] in rows)

    return [file for file in files if needed(file)]


def rows_by_expert(folder: Path, leaf: str) -> bool:
    """Whether a leaf's chunks hold one expert each, as `needed_files` assumes."""
    return bool(json.loads((folder / leaf / ".zarray").read_text())["chunks"][0] == 1)


Row = tuple[Path, int]
"""An expert on disk: the folder its leaves are in, and its index there."""


def read(rows: Sequence[Row], leaf: str, sharding: Sharding | None) -> Array:
    """A leaf of these experts, straight into a sharding (None: the first device).

    Only the pieces of local devices are read; a row asked for many times is read once.
    """
    sources = {folder: _open(folder / leaf) for folder in {folder for folder, _ in rows}}
    shape = (len(rows), *sources[rows[0][0]].shape[1:])

    def piece(index: Any) -> np.ndarray:
        where = index or (slice(None),) * len(shape)
        wanted = rows[where[0]]
        pending = {row: sources[row[0]][(row[1], *where[1:])].read() for row in set(wanted)}
        if len(pending) == 1:
            (only,) = pending.values()
            return np.broadcast_to(only.result(), (len(wanted), *only.result().shape))
        return np.stack([pending[row].result() for row in wanted])

    place = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.make_array_from_callback(shape, place, piece)


def read_row(row: Row, leaf: str) -> np.ndarray:
    """A leaf of one expert, on the host."""
    folder, expert = row
    return np.asarray(_open(folder / leaf)[expert].read().result())


def _open(leaf: Path) -> Any:
    import tensorstore as ts

    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(leaf.absolute())}}
    return ts.open(spec, read=True, open=True).result()


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Array]:
    """Nested dicts → {"params.layers.q": array}: the names of the leaf folders."""
    flat: dict[str, Array] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def nest(flat: Mapping[str, Array]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        here = tree
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = value
    return tree
