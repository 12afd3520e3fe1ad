"""Sets that come from elsewhere: what a forger may write, with hashes that fit, is refused by name and in no time."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitjax import cli
from splitjax.config import UserError, hash_file, hash_json, read_json
from splitjax.serving import loaded_models

from .forged import NAMES, write_set

RECORDS = ("export.json", "router.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set")


def forge(path: Path, change: Callable[[Any], object]) -> None:
    told = read_json(path)
    change(told)
    if path.name in RECORDS:
        told = {key: value for key, value in told.items() if key != "hash"}
        told["hash"] = hash_json(told)
    path.write_text(json.dumps(told))


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        loaded_models.of_folder(folder)
    return str(caught.value)


def test_the_set_itself_is_taken_and_routes(folder: Path) -> None:
    found = loaded_models.of_folder(folder)
    assert found.names == NAMES
    assert [found.chooser.choose(text).expert for text in ("if x then", "quiet house")] == [0, 1]


FORGED: dict[str, tuple[str, Callable[[Any], object]]] = {
    "no experts": ("export.json", lambda told: told.pop("experts")),
    "an empty set": ("export.json", lambda told: told.update(experts=[])),
    "experts that are words": ("export.json", lambda told: told.update(experts=["code"])),
    "an expert without a folder": ("export.json", lambda told: told["experts"][0].pop("folder")),
    "a folder above": ("export.json", lambda told: told["experts"][0].update(folder="..")),
    "the set as an expert": ("export.json", lambda told: told["experts"][0].update(folder="")),
    "a folder elsewhere": ("export.json", lambda told: told["experts"][0].update(folder="/etc")),
    "a folder with NUL": ("export.json", lambda told: told["experts"][0].update(folder="a\0b")),
    "a folder of half a surrogate": ("export.json", lambda told: told["experts"][0].update(folder="\ud800")),
    "no end token": ("export.json", lambda told: told.pop("end_token")),
    "an end token that is a list": ("export.json", lambda told: told.update(end_token=["x"])),
    "a window of words": ("export.json", lambda told: told.update(seq_len="many")),
    "a window beyond memory": ("export.json", lambda told: told.update(seq_len=10**12)),
    "experts that the router does not know": ("export.json", lambda told: told["experts"][0].update(name="other")),
    "files that are devices": ("router.json", lambda told: told.update(files={"/dev/zero": "0"})),
    "files as a list": ("router.json", lambda told: told.update(files=["clusterer.npz"])),
    "no clusterer for a centroid": ("router.json", lambda told: told.update(files={})),
    "a prior of nothing": ("router.json", lambda told: told.update(prior=[0.0, 0.0])),
    "a prior below nothing": ("router.json", lambda told: told.update(prior=[-1.0, 2.0])),
    "a prior of words": ("router.json", lambda told: told.update(prior="ab")),
    "a prior of one": ("router.json", lambda told: told.update(prior=[1.0])),
    "three experts and three shares": ("router.json", lambda told: told.update(prior=[1.0] * 3, experts=["a"] * 3)),
    "no router": ("router.json", lambda told: told.pop("router")),
    "a router that is a list": ("router.json", lambda told: told.update(router=["bayes"])),
    "an unknown router": ("router.json", lambda told: told.update(router="os.system")),
    "a temperature of words": ("router.json", lambda told: told.update(temperature="hot")),
    "no experts to route to": ("router.json", lambda told: told.pop("experts")),
    "evidence that is text": ("router.json", lambda told: told.update(evidence="x")),
    "a width beyond memory": ("code/config.json", lambda told: told.update(hidden_size=10**9)),
    "layers beyond memory": ("code/config.json", lambda told: told.update(num_hidden_layers=10**9)),
    "a vocabulary beyond ids": ("code/config.json", lambda told: told.update(vocab_size=10**12)),
    "rope that is a list": ("code/config.json", lambda told: told.update(rope_parameters=[1])),
    "layer types that are a number": ("code/config.json", lambda told: told.update(layer_types=7)),
    "a theta beyond floats": ("code/config.json", lambda told: told.update(rope_theta=10**400)),
    "no heads": ("code/config.json", lambda told: told.update(num_attention_heads=0)),
    "an id that is text": ("code/generation_config.json", lambda told: told.update(eos_token_id="</s>")),
    "weights that are a list": ("code/model.safetensors.index.json", lambda told: told.update(weight_map=["a"])),
    "weights in lists": ("code/model.safetensors.index.json", lambda told: told["weight_map"].update(x=["a"])),
    "weights elsewhere": ("code/model.safetensors.index.json", lambda told: told["weight_map"].update(x="../x")),
    "weights with NUL": ("code/model.safetensors.index.json", lambda told: told["weight_map"].update(x="a\0")),
    "a tokenizer without tokens": ("code/tokenizer.json", lambda told: told.pop("added_tokens")),
    "a token with an id beyond int32": ("code/tokenizer.json", lambda told: told["added_tokens"][0].update(id=2**40)),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused_by_name(folder: Path, name: str) -> None:
    file, change = FORGED[name]
    forge(folder / file, change)
    said = refused(folder)
    assert said.startswith((f"{folder / file}:", f"{folder / 'router.json'}:", f"{folder / 'code'}")), said
    assert len(said) < 600
    assert "\n" not in said


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "{}", "[" * 100_000, "{" * 5 + "}", "\ud800"])
@pytest.mark.parametrize("file", [*RECORDS, "code/config.json", "code/model.safetensors.index.json"])
def test_other_json_is_refused_by_name(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text, encoding="utf-8", errors="surrogatepass")
    assert refused(folder).startswith(str(folder / file))


@pytest.mark.parametrize("file", ["export.json", "router.json", "clusterer.npz", "code/config.json",
                                  "code/tokenizer.json", "code/model.safetensors.index.json"])
@pytest.mark.parametrize("end", ["/dev/zero", "fifo"])
def test_a_device_or_pipe_in_the_place_of_a_file_is_refused_at_once(folder: Path, file: str, end: str) -> None:
    (folder / file).unlink()
    if end == "fifo":
        os.mkfifo(folder / file)
    else:
        (folder / file).symlink_to(end)
    assert str(folder / file.partition("/")[0]) in refused(folder)


def packed(folder: Path, arrays: dict[str, np.ndarray], head: dict[str, bytes] | None = None, **how: Any) -> None:
    """clusterer.npz of these arrays, and a router.json that names it."""
    with zipfile.ZipFile(folder / "clusterer.npz", "w", **how) as file:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            file.writestr(f"{name}.npy", buffer.getvalue())
        for name, data in (head or {}).items():
            file.writestr(f"{name}.npy", data)
    digest = hash_file(folder / "clusterer.npz")
    forge(folder / "router.json", lambda told: told.update(files={"clusterer.npz": digest}))


def test_a_clusterer_that_unpacks_to_more_than_it_is_or_tells_of_more_is_refused(folder: Path) -> None:
    with np.load(folder / "clusterer.npz") as saved:
        arrays = {name: saved[name] for name in saved.files}
    packed(folder, arrays)
    loaded_models.of_folder(folder)
    packed(folder, arrays | {"prices": np.zeros(2**20, np.float32)}, compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(folder)
    buffer = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**3)}
    np.lib.format.write_array_header_1_0(buffer, about)
    packed(folder, {key: value for key, value in arrays.items() if key != "prices"}, {"prices": buffer.getvalue()})
    assert "tells of more than it holds" in refused(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("centroids", np.zeros((2, 99), np.float32)), ("centroids", np.zeros((3, 1), np.float32)),
     ("prices", np.zeros(7, np.float32)), ("prices", np.array(["a", "b"])), ("centroids", np.full((2, 1), np.nan)),
     ("terms", np.zeros((1, 1))), ("idf", np.zeros(1, np.float32)), ("version", np.array([1, 2]))],
)
def test_arrays_that_do_not_belong_together_are_refused(folder: Path, name: str, value: np.ndarray) -> None:
    with np.load(folder / "clusterer.npz") as saved:
        arrays = {key: saved[key] for key in saved.files}
    packed(folder, arrays | {name: value})
    assert "clusterer" in refused(folder)


def test_a_forged_set_is_one_line_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge(folder / "router.json", lambda told: told.update(files={"/dev/zero": "0"}))
    assert cli.main(["generate", str(folder), "x"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"splitjax: {folder / 'router.json'}: damaged")
