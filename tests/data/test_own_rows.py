"""Rows as people have them: fields inside fields, labels of any kind, and rows that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from splitjax.config import Data, Source, UserError, hash_json
from splitjax.data import Corpus, prepare, sources

from .conftest import rows_of, settings, write_jsonl


def write(folder: Path, kind: str, rows: list[dict[str, Any]], schema: Any = None) -> dict[str, object]:
    if kind == "jsonl":
        return {"type": kind, "path": str(write_jsonl(folder / "d.jsonl", rows))}
    table = pa.Table.from_pylist(rows, schema)
    if kind == "parquet":
        parquet.write_table(table, folder / "d.parquet")
        return {"type": kind, "path": str(folder / "d.parquet")}
    (folder / "set").mkdir()
    with pa.OSFile(str(folder / "set" / "d.arrow"), "wb") as file, ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return {"type": kind, "path": str(folder / "set")}


def read(source: dict[str, object], **options: object) -> list[tuple[str, str | None]]:
    chosen = Source.model_validate(source | options)
    return [(each.text, each.label) for part in sources.parts(chosen) for each in sources.read(chosen, part)]


KINDS = ["jsonl", "parquet", "huggingface"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_inside_another(kind: str, tmp_path: Path) -> None:
    rows = [{"data": {"text": "one", "meta": {"field": "a"}}}, {"data": {"text": "two", "meta": {"field": "b"}}}]
    source = write(tmp_path, kind, rows) | {"text_field": "data.text", "label_field": "data.meta.field"}
    assert read(source) == [("one", "a"), ("two", "b")]
    with pytest.raises(UserError, match=r":1: no field 'data.txt'. Set text_field. Did you mean 'data.text'"):
        read(source | {"text_field": "data.txt"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_with_a_dot_is_first_that_field(kind: str, tmp_path: Path) -> None:
    rows = [{"data.text": "this", "data": {"text": "that"}}]
    assert read(write(tmp_path, kind, rows) | {"text_field": "data.text"}) == [("this", None)]


LABELS = [("a", "a"), ("  a \n", "a"), (3, "3"), (3.0, "3"), (-2.0, "-2"), (True, "True"), (None, None),
          (float("nan"), None)]


@pytest.mark.parametrize(("value", "label"), LABELS)
def test_labels_of_any_kind(value: object, label: str | None, tmp_path: Path) -> None:
    assert read(write(tmp_path, "jsonl", [{"text": "x", "domain": value}])) == [("x", label)]
    if value is not None:
        assert read(write(tmp_path, "parquet", [{"text": "x", "domain": value}])) == [("x", label)]


NO_LABELS = [("", "empty label"), (" \t", "empty label"), (2.5, "is float, not a label"), ([1], "is list, not a label")]


@pytest.mark.parametrize(("value", "said"), NO_LABELS)
def test_what_is_no_label_is_refused_in_prepare(value: object, said: str, tmp_path: Path) -> None:
    source = write(tmp_path, "jsonl", [*rows_of(3), {"text": "x", "domain": value}])
    with pytest.raises(UserError, match=f"d.jsonl:10: field 'domain' (is an )?{said}"):
        prepare(settings("", sources=[source]), tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", ["", " sea", "sea "])
def test_a_label_in_the_config_is_a_name(label: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        Source(type="jsonl", path="x", label=label)


@pytest.mark.parametrize("kind", ["parquet", "huggingface"])
def test_class_labels_keep_their_names(kind: str, tmp_path: Path) -> None:
    features = {"label": {"names": ["sea", "law"], "_type": "ClassLabel"}, "text": {"_type": "Value"}}
    told = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    schema = pa.schema([("text", pa.string()), ("label", pa.int64())], metadata=told)
    rows = [{"text": "one", "label": 1}, {"text": "two", "label": 0}, {"text": "three", "label": -1}]
    source = write(tmp_path, kind, rows, schema)
    assert read(source, label_field="label") == [("one", "law"), ("two", "sea"), ("three", None)]


def test_a_dictionary_of_datasets_asks_for_its_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        table = pa.Table.from_pylist([{"text": split, "domain": "a"}])
        with pa.OSFile(str(tmp_path / split / "d.arrow"), "wb") as file, ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    source: dict[str, object] = {"type": "huggingface", "path": str(tmp_path)}
    with pytest.raises(UserError, match=r"holds the splits train, test. Give the path of one: .*/train"):
        read(source)
    assert read(source | {"path": str(tmp_path / "train")}) == [("train", "a")]


def test_documents_of_white_space_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*rows_of(30), *({"text": text, "domain": "sea"} for text in ("", " ", "\n\t", "\u2003"))]
    manifest = prepare(settings(write_jsonl(tmp_path / "d.jsonl", rows)), tmp_path / "out", seed=0)
    assert manifest.dropped["empty"] == 4
    assert "documents left out: 4 empty" in manifest.notes()


def bad_file(folder: Path) -> Path:
    """Ninety good rows, and six that cannot be read."""
    lines = [json.dumps(row).encode() for row in rows_of(30)]
    lines[10:10] = [b"{not JSON", b"[1, 2]", b'{"txt": "x"}', b'{"text": 3, "domain": "sea"}', b'{"text": "\xff"}',
                    b'{"text": "no label"}']
    (folder / "d.jsonl").write_bytes(b"\n".join(lines))
    return folder / "d.jsonl"


def test_rows_that_cannot_be_read_stop_or_are_skipped(tmp_path: Path) -> None:
    path = bad_file(tmp_path)

    def data(**source: object) -> Data:
        return settings("", sources=[{"type": "jsonl", "path": str(path)} | source])

    with pytest.raises(UserError, match=r"d.jsonl:11: not a JSON object"):
        prepare(data(), tmp_path / "out", seed=0)
    manifest = prepare(data(on_error="skip"), tmp_path / "out", seed=0)
    assert manifest.skipped == {
        "not a JSON object": 1, "not a JSON object but list": 1, "no field 'text'": 1,
        "field 'text' is int, not text": 1, "not UTF-8": 1, "no label": 1,
    }
    assert [row.partition(": ")[0] for row in manifest.skipped_rows] == [f"{path}:{line}" for line in range(11, 17)]
    assert sum(sum(manifest.counts("documents", split)) for split in ("train", "validation", "test")) == 90
    told = Corpus.open(tmp_path / "out").manifest.notes()
    assert told[0].startswith("rows skipped: 1 × not a JSON object, 1 × not a JSON object but list")
    assert told[1].startswith(f"  {path}:11: not a JSON object (")
    assert manifest.summary()["skipped"] == manifest.skipped


def test_twenty_skipped_rows_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines = [*(json.dumps(row) for row in rows_of(30, seed=ord(name))), *["no"] * 15]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    source = {"type": "jsonl", "path": str(tmp_path / "*.jsonl"), "on_error": "skip"}
    manifest = prepare(settings("", sources=[source]), tmp_path / "out", seed=0)
    assert manifest.skipped == {"not a JSON object": 30}
    assert len(manifest.skipped_rows) == 20
    assert manifest.skipped_rows[15].startswith(f"{tmp_path / 'b.jsonl'}:91")
    assert manifest.notes()[-1] == "  and 10 more"


@pytest.mark.parametrize("kind", ["parquet", "text", "line", "tokens"])
def test_every_kind_of_rows_can_skip(kind: str, tmp_path: Path) -> None:
    good = [row["text"] for row in rows_of(40, labels=("sea",))]
    source: dict[str, object] = {"type": kind, "path": str(tmp_path / "in"), "label": "sea", "on_error": "skip"}
    (tmp_path / "in").mkdir()
    tokenizer: dict[str, object] = {"vocab_size": 300}
    if kind == "parquet":
        table = pa.Table.from_pylist([{"text": text} for text in [*good, None]])
        parquet.write_table(table, tmp_path / "in" / "d.parquet")
    elif kind == "text":
        for index, text in enumerate([*map(str.encode, good), b"\xff"]):
            (tmp_path / "in" / f"{index:03}.txt").write_bytes(text)
    elif kind == "line":
        (tmp_path / "in" / "d.txt").write_bytes(b"\n".join([*map(str.encode, good), b"\xff"]))
        source |= {"type": "text", "document": "line"}
    else:
        from splitjax.data.tokenizing.fast_tokenizer import bytes_tokenizer

        rows = [{"input_ids": ids} for ids in [*bytes_tokenizer().encode_batch(good), [999]]]
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / "d.parquet")
        tokenizer = {"type": "bytes"}
    data = settings("", sources=[source], tokenizer=tokenizer)
    manifest = prepare(data, tmp_path / "out", seed=0)
    assert sum(manifest.skipped.values()) == 1
    with pytest.raises(UserError):
        prepare(settings("", sources=[source | {"on_error": "stop"}], tokenizer=tokenizer), tmp_path / "no", seed=0)
    assert manifest.domains == ("sea",)
    assert sum(sum(manifest.counts("documents", split)) for split in ("train", "validation", "test")) == 40


def ids_file(folder: Path) -> dict[str, object]:
    from splitjax.data.tokenizing.fast_tokenizer import bytes_tokenizer

    ids = [index for row in rows_of(60, labels=("sea",)) for index in [*bytes_tokenizer().encode(row["text"]), 0]]
    (folder / "d.bin").write_bytes(np.array(ids, "<u2").tobytes())
    return {"type": "tokens", "path": str(folder / "d.bin"), "end_id": 0, "label": "sea"}


def test_the_type_of_bare_ids_is_asked_for(tmp_path: Path) -> None:
    source = ids_file(tmp_path)
    data = settings("", sources=[source], tokenizer={"type": "bytes"})
    with pytest.raises(UserError, match=r"d.bin: has no header that tells the type of its ids. Set the source's dtype"):
        prepare(data, tmp_path / "out", seed=0)
    given = settings("", sources=[source | {"dtype": "uint16"}], tokenizer={"type": "bytes"})
    assert prepare(given, tmp_path / "out", seed=0).domains == ("sea",)
    np.save(tmp_path / "d.npy", np.fromfile(tmp_path / "d.bin", "<u2"))
    headed = settings("", sources=[source | {"path": str(tmp_path / "d.npy")}], tokenizer={"type": "bytes"})
    assert prepare(headed, tmp_path / "npy", seed=0).domains == ("sea",)


def test_what_an_older_version_prepared_stands(tmp_path: Path) -> None:
    """Its settings had a dtype for every source and none of the younger keys."""
    data = settings(write_jsonl(tmp_path / "d.jsonl", rows_of(40)))
    tree = data.model_dump(mode="json", exclude={"workers", "runner"})
    old = [{key: value for key, value in tree["sources"][0].items() if key != "on_error"} | {"dtype": "uint16"}]
    keys = ("method", "k", "cap", "vectors", "features", "dims", "sample_docs")
    domains = {key: tree["domains"][key] for key in keys}
    manifest = prepare(data, tmp_path / "out", seed=3)
    assert manifest.settings == hash_json([tree | {"sources": old, "domains": domains}, 3])
    assert Data.model_validate(tree | {"sources": old}) == data
