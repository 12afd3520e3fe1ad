"""Damage to prepared data is one line that names the file, never another stream."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from splitjax.config import UserError, hash_json, write_record
from splitjax.data import Corpus, Manifest
from splitjax.data.shards import TokenRun, token_dtype, write_shard


@pytest.fixture
def copy(tiny: Corpus, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.folder, tmp_path / "data"))


def edit(copy: Path, **changes: object) -> None:
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_flipped_bit_anywhere_in_a_shard_is_refused(copy: Path) -> None:
    shard = copy / Manifest.load(copy).shards[0].file
    whole = bytearray(shard.read_bytes())
    for place in random.Random(0).sample(range(len(whole)), 20):
        damaged = whole.copy()
        damaged[place] ^= 4
        shard.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{shard.name}: differs from its manifest"):
            Corpus.open(copy)


def test_without_verification_no_flipped_bit_gives_other_tokens(tmp_path: Path) -> None:
    """A flip in padding may pass; one in data is refused at the read."""
    path, dtype = tmp_path / "s.arrayrecord", token_dtype(4096)
    tokens = np.random.default_rng(0).integers(1, 4096, 30_000)
    write_shard(path, np.split(tokens, 20), dtype)
    count = len(tokens) + 20
    whole, good = path.read_bytes(), TokenRun([path], [count], dtype).read(0, count)
    refused = 0
    for place in random.Random(0).sample(range(len(whole)), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        try:
            got = TokenRun([path], [count], dtype).read(0, count)
        except UserError:
            refused += 1
        else:
            assert np.array_equal(got, good)
    assert refused > 10


def test_a_missing_shard_is_named(copy: Path) -> None:
    name = Manifest.load(copy).shards[-1].file
    (copy / name).unlink()
    with pytest.raises(UserError, match=name):
        Corpus.open(copy)


def test_a_truncated_shard_is_refused_without_hashing(copy: Path) -> None:
    shard = copy / Manifest.load(copy).shards[0].file
    shard.write_bytes(shard.read_bytes()[:100])
    corpus = Corpus.open(copy, verify=False)
    with pytest.raises(UserError, match=shard.name):
        corpus.domain(corpus.manifest.shards[0].domain, 4, 16, 0).batch(0)


def test_another_tokenizer_is_refused(copy: Path) -> None:
    path = copy / "tokenizer.json"
    path.write_text(path.read_text().replace('"dropout":null', '"dropout":0.5'))
    with pytest.raises(UserError, match=r"tokenizer.json: differs"):
        Corpus.open(copy)
    with pytest.raises(UserError, match=r"tokenizer.json: is not the tokenizer that made the tokens"):
        Corpus.open(copy, verify=False)


def test_a_shard_taken_out_of_the_manifest_is_refused(copy: Path) -> None:
    shards = json.loads((copy / "manifest.json").read_text())["shards"]
    edit(copy, shards=shards[1:])
    with pytest.raises(UserError, match=r"manifest.json: damaged or edited"):
        Corpus.open(copy)


def forge(copy: Path, **changes: object) -> None:
    """Edit the manifest and give it the hash that fits."""
    tree = json.loads((copy / "manifest.json").read_text()) | changes
    write_record(copy / "manifest.json", {key: value for key, value in tree.items() if key != "hash"})


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd"])
def test_a_manifest_that_points_outside_its_folder_is_refused(copy: Path, name: str) -> None:
    tree = json.loads((copy / "manifest.json").read_text())
    forge(copy, shards=[tree["shards"][0] | {"file": name}, *tree["shards"][1:]])
    with pytest.raises(UserError, match="outside its folder"):
        Corpus.open(copy)
    forge(copy, shards=tree["shards"], files={name: "x"})
    with pytest.raises(UserError, match="outside its folder"):
        Corpus.open(copy)


@pytest.mark.parametrize(
    "changes",
    [{"domains": 3}, {"shards": [{}]}, {"extra": 1}, {"domains": ["sea"]}, {"weights": [1]}, {"tokenizer": 1}],
)
def test_a_manifest_edited_by_hand_is_refused(copy: Path, changes: dict[str, object]) -> None:
    edit(copy, **changes)
    with pytest.raises(UserError, match=r"manifest.json: damaged or edited"):
        Corpus.open(copy)
    forge(copy, **changes)
    with pytest.raises(UserError, match=r"manifest.json: damaged \(|manifest.json: damaged manifest"):
        Corpus.open(copy)


def test_another_version_is_named(copy: Path) -> None:
    edit(copy, version=7)
    with pytest.raises(UserError, match=r"not a manifest of version 3 \(this one: 7"):
        Corpus.open(copy)
    (copy / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match=r"manifest.json"):
        Corpus.open(copy)
    with pytest.raises(UserError, match="no such file"):
        Corpus.open(copy / "nowhere")


def test_another_order_of_windows_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splitjax.data.corpus.window_order", lambda: hash_json("another Grain"))
    with pytest.raises(UserError, match="orders windows differently"):
        Corpus.open(copy)


def test_unknown_names_get_a_suggestion(tiny: Corpus) -> None:
    with pytest.raises(UserError, match=r"no domain 'lav'. Did you mean 'law'"):
        tiny.domain("lav", 1, 8, 0)
    with pytest.raises(UserError, match=r"no split 'tset'. Did you mean 'test'"):
        tiny.unigram_entropy("tset")
