"""Weight files: what goes in comes out, bit for bit; formats that could run code are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.model.weights import INDEX, Weights, write_weights

SHAPES = st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(shapes=SHAPES, shard=st.sampled_from([1, 60, 10**9]), dtype=st.sampled_from(["float32", "bfloat16"]))
def test_tensors_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[list[int]], shard: int, dtype: str
) -> None:
    folder, rng = tmp_path_factory.mktemp("w"), np.random.default_rng(0)
    kind = np.float32 if dtype == "float32" else ml_dtypes.bfloat16
    tensors = {f"t{i}": rng.normal(size=shape).astype(kind).T for i, shape in enumerate(shapes)}
    write_weights(folder, iter(tensors.items()), dtype, shard)
    found = Weights(folder)
    assert dict.fromkeys(found) == dict.fromkeys(tensors)
    assert found.dtypes == {dtype}
    for name, tensor in tensors.items():
        assert found[name].dtype == kind
        assert found[name].shape == tensor.shape
        assert found[name].tobytes() == np.ascontiguousarray(tensor).tobytes()
    assert (folder / INDEX).exists() == (len(found.files) > 1)
    assert len(found.files) == (1 if shard > 60 else len(found.files))


def test_an_index_tells_the_size_and_every_place(tmp_path: Path) -> None:
    write_weights(tmp_path, ((f"t{i}", np.zeros((4, 4), np.float32)) for i in range(5)), "float32", 128)
    told = json.loads((tmp_path / INDEX).read_text())
    assert told["metadata"]["total_size"] == 5 * 64
    assert sorted(set(told["weight_map"].values())) == [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    for path in tmp_path.glob("*.safetensors"):
        assert path.stat().st_mode & 0o444 == 0o444, "others may read it"
        assert sum(tensor.nbytes for tensor in safetensors.numpy.load_file(path).values()) <= 128


def _whole(folder: Path) -> None:
    write_weights(folder, [("a", np.zeros(2, np.float32))], "float32", 10)


def _integers(folder: Path) -> None:
    safetensors.numpy.save_file({"a": np.zeros(2, np.int8)}, folder / "model.safetensors")


def _cut(folder: Path) -> None:
    _whole(folder)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-3])


def _outside(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../../model.safetensors"}}))


def _gone(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))


def _pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_integers, "tensor 'a' has type I8"),
        (_cut, "not a safetensors file"),
        (_outside, "not an index of safetensors files"),
        (_gone, r"model-1.safetensors: a file that the index names is missing"),
        (_pickle, r"pytorch_model.bin: weights in a format that can run code"),
        (lambda folder: None, r"no model.safetensors and no"),
    ],
)
def test_what_cannot_be_trusted_is_refused_by_name(make: object, said: str, tmp_path: Path) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(UserError, match=said):
        Weights(tmp_path)
