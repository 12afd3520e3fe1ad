"""Weights of a Hugging Face folder: safetensors files, one or many with an index, read and written tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import UserError, check_shape, read_json, write_json

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_EXECUTABLE = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
"""Formats that run code when they are read."""
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class _Index(TypedDict):
    weight_map: dict[str, str]


class Weights(Mapping[str, np.ndarray]):
    """The tensors of a folder by name; each is read from its file when it is asked for.

    Args:
        folder: holds model.safetensors, or several files and their index.

    Raises:
        UserError: no such files, a format that could run code, a damaged file, or a tensor that is no float.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = _files(folder)
        self._places: dict[str, Any] = {}
        self.dtypes: set[str] = set()
        for path in self.files:
            self._open(path)

    def _open(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            file = safe_open(path, "numpy")
        except (SafetensorError, OSError) as error:
            raise UserError(f"not a safetensors file ({error})", where=str(path)) from None
        for name in file.keys():  # noqa: SIM118 - not a dict
            kind = file.get_slice(name).get_dtype()
            if kind not in _FLOATS:
                raise UserError(f"tensor '{name}' has type {kind}", where=str(path), mend="Only floats are read.")
            if name in self._places:
                raise UserError(f"tensor '{name}' stands in two files", where=str(path))
            self._places[name] = file
            self.dtypes.add(_FLOATS[kind])

    def __getitem__(self, name: str) -> np.ndarray:
        return self._places[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        index = check_shape(read_json(folder / INDEX), _Index, str(folder / INDEX))
        names = sorted(set(index["weight_map"].values()))
        if not names or any(Path(name).name != name or "\0" in name for name in names):
            raise UserError("not an index of safetensors files", where=str(folder / INDEX))
        for name in names:
            if not (folder / name).is_file():
                raise UserError("a file that the index names is missing", where=str(folder / name))
        return [folder / name for name in names]
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    for pattern in _EXECUTABLE:
        if found := sorted(folder.glob(pattern)):
            raise UserError(
                "weights in a format that can run code are not read", where=str(found[0]),
                mend="Save the model as safetensors (save_pretrained of any transformers since 4.35 does).",
            )
    raise UserError(f"no {ONE_FILE} and no {INDEX}", where=str(folder))


def write_weights(folder: Path, tensors: Iterable[tuple[str, np.ndarray]], dtype: str, shard_bytes: int) -> None:
    """Write tensors as they come; no more than one shard of them is held.

    Args:
        folder: exists; what fails half-way stays in it.
        tensors: (name, array) pairs.
        dtype: "float32" or "bfloat16" of the files.
        shard_bytes: a file holds at most so many bytes of tensors, but always one tensor.
    """
    kind = np.dtype(np.float32 if dtype == "float32" else jnp.bfloat16)
    shards: list[list[str]] = []
    held: dict[str, np.ndarray] = {}
    total = size = 0
    for name, tensor in tensors:
        array = np.asarray(tensor).astype(kind, order="C")
        if held and size + array.nbytes > shard_bytes:
            _write(folder / _numbered(len(shards) + 1), held, dtype)
            shards.append(list(held))
            held, size = {}, 0
        held[name] = array
        size += array.nbytes
        total += array.nbytes
    if not shards:
        _write(folder / ONE_FILE, held, dtype)
        return
    _write(folder / _numbered(len(shards) + 1), held, dtype)
    shards.append(list(held))
    _index(folder, shards, total)


def _index(folder: Path, shards: list[list[str]], total: int) -> None:
    """Name the files i of n, now that n is known, and write which tensor lies where."""
    places: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        final = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        (folder / _numbered(number)).rename(folder / final)
        places |= dict.fromkeys(names, final)
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _numbered(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


def _write(path: Path, tensors: Mapping[str, np.ndarray], dtype: str) -> None:
    from safetensors import TensorSpec, serialize_file

    specs = {
        name: TensorSpec(dtype=dtype, shape=list(array.shape), data_ptr=array.ctypes.data, data_len=array.nbytes)
        for name, array in tensors.items()
    }
    serialize_file(specs, path, metadata={"format": "pt"})
    path.chmod(0o644)  # the library makes it readable to its owner alone
