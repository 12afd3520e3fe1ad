"""The same thousand documents through every kind of source; what each refuses."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from splitjax.config import Source, UserError
from splitjax.data import prepare, sources
from splitjax.data.documents import Document, digest
from splitjax.data.sources import files
from splitjax.data.tokenizing.fast_tokenizer import bytes_tokenizer

from .conftest import rows_of, settings, write_jsonl

DOCUMENTS = [{"text": f"{row['text']} é\t\u2028", "domain": "sea"} for row in rows_of(1000, labels=("sea",))]
EXPECTED = sorted((digest(row["text"].encode()), "sea") for row in DOCUMENTS)
TEXTS = [row["text"] for row in DOCUMENTS]


def as_jsonl(folder: Path) -> dict[str, object]:
    return {"type": "jsonl", "path": str(write_jsonl(folder / "d.jsonl", DOCUMENTS))}


def as_gzip(folder: Path) -> dict[str, object]:
    plain = write_jsonl(folder / "d.jsonl", DOCUMENTS).read_bytes()
    (folder / "d.jsonl.gz").write_bytes(gzip.compress(plain))
    return {"type": "jsonl", "path": str(folder / "d.jsonl.gz")}


def as_zstd(folder: Path) -> dict[str, object]:
    plain = write_jsonl(folder / "d.jsonl", DOCUMENTS).read_bytes()
    with pa.CompressedOutputStream(str(folder / "d.jsonl.zst"), "zstd") as file:
        file.write(plain)
    return {"type": "jsonl", "path": str(folder / "*.zst")}


def as_parquet(folder: Path) -> dict[str, object]:
    parquet.write_table(pa.Table.from_pylist(DOCUMENTS), folder / "d.parquet", row_group_size=100)
    return {"type": "parquet", "path": str(folder)}


def as_huggingface(folder: Path) -> dict[str, object]:
    """The layout of `datasets.save_to_disk`, beside a file that an earlier save left."""
    table = pa.Table.from_pylist(DOCUMENTS)
    for name in ("data-00000-of-00001.arrow", "data-00000-of-00007.arrow"):
        with pa.OSFile(str(folder / name), "wb") as file, ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=128)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    return {"type": "huggingface", "path": str(folder)}


def as_files(folder: Path) -> dict[str, object]:
    (folder / "sea").mkdir()
    for index, text in enumerate(TEXTS):
        (folder / "sea" / f"{index}.txt").write_bytes(text.encode())
    return {"type": "text", "path": str(folder)}


def as_lines(folder: Path) -> dict[str, object]:
    (folder / "all.txt").write_bytes("".join(text + "\n" for text in TEXTS).encode())
    return {"type": "text", "path": str(folder / "all.txt"), "document": "line", "label": "sea"}


def as_ids_parquet(folder: Path) -> dict[str, object]:
    rows = [{"input_ids": bytes_tokenizer().encode(row["text"]), "domain": "sea"} for row in DOCUMENTS]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "d.parquet")
    return {"type": "tokens", "path": str(folder / "d.parquet")}


def _run() -> np.ndarray:
    return np.concatenate([[*bytes_tokenizer().encode(text), 0] for text in TEXTS])


def as_npy(folder: Path) -> dict[str, object]:
    np.save(folder / "d.npy", _run().astype(np.int32))
    return {"type": "tokens", "path": str(folder / "d.npy"), "end_id": 0, "label": "sea"}


def as_bin(folder: Path) -> dict[str, object]:
    (folder / "d.bin").write_bytes(_run().astype("<u4").tobytes())
    return {"type": "tokens", "path": str(folder / "d.bin"), "dtype": "uint32", "end_id": 0, "label": "sea"}


MAKERS = [as_jsonl, as_gzip, as_zstd, as_parquet, as_huggingface, as_files, as_lines, as_ids_parquet, as_npy, as_bin]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_source_gives_the_same_documents(make: Callable[[Path], dict[str, object]], tmp_path: Path) -> None:
    source = Source.model_validate(make(tmp_path))
    found = [doc for part in sources.parts(source) for doc in sources.read(source, part, bytes_tokenizer())]
    assert sorted((digest(doc.text.encode()), doc.label) for doc in found) == EXPECTED


def test_ids_of_a_source_become_its_tokens(tmp_path: Path) -> None:
    rows = [{"input_ids": np.random.default_rng(i).integers(1, 257, 30).tolist(), "domain": "a"} for i in range(200)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    source = {"type": "tokens", "path": str(tmp_path / "d.parquet")}
    prepare(settings("", sources=[source], tokenizer={"type": "bytes"}, near_duplicates=None), tmp_path / "o", seed=0)
    from splitjax.data import Corpus

    corpus = Corpus.open(tmp_path / "o")
    runs = [corpus._run(split, 0) for split in ("train", "validation", "test")]
    tokens = np.concatenate([run.read(0, len(run)) for run in runs])
    found = sorted(part.tolist() for part in np.split(tokens, np.flatnonzero(tokens == 0))[1:])
    assert found == sorted([0, *row["input_ids"]] for row in rows)


def test_ids_need_their_tokenizer_and_must_be_its_own(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([1, 2, 999, 0]))
    source = {"type": "tokens", "path": str(tmp_path / "d.npy"), "end_id": 0, "label": "a"}
    with pytest.raises(UserError, match=r"d.npy: ids mean nothing to a tokenizer that is still to be trained"):
        prepare(settings("", sources=[source]), tmp_path / "out", seed=0)
    with pytest.raises(UserError, match=r"d.npy:1: id 999 is not one of the tokenizer's 257"):
        prepare(settings("", sources=[source], tokenizer={"type": "bytes"}), tmp_path / "out", seed=0)
    with pytest.raises(UserError, match="needs 'end_id'"):
        prepare(settings("", sources=[source | {"end_id": None}], tokenizer={"type": "bytes"}), tmp_path / "o", seed=0)


DAMAGED = {
    "d.jsonl.zst": "cannot be read to its end",
    "d.jsonl.gz": "cannot be read to its end",
    "d.parquet": "cannot be read after row",
    "data-00000-of-00001.arrow": "cannot be read after row",
}


@pytest.mark.parametrize("make", [as_gzip, as_zstd, as_parquet, as_huggingface], ids=lambda make: make.__name__)
def test_a_truncated_file_is_named(make: Callable[[Path], dict[str, object]], tmp_path: Path) -> None:
    source = Source.model_validate(make(tmp_path))
    (part,) = sources.parts(source)
    Path(part).write_bytes(Path(part).read_bytes()[:-2000])
    with pytest.raises(UserError, match=f"{Path(part).name}: {DAMAGED[Path(part).name]}"):
        list(sources.read(source, part))


def test_missing_columns_and_bad_text_are_named(tmp_path: Path) -> None:
    source = Source.model_validate(as_parquet(tmp_path) | {"text_field": "txt"})
    with pytest.raises(UserError, match=r"d.parquet: no column 'txt'. Did you mean 'text'"):
        list(sources.read(source, sources.parts(source)[0]))
    (tmp_path / "x.txt").write_bytes(b"ab\xff")
    source = Source(type="text", path=str(tmp_path / "x.txt"))
    with pytest.raises(UserError, match=r"x.txt: not UTF-8 \(invalid start byte at byte 2\)"):
        list(sources.read(source, sources.parts(source)[0]))
    for name, content in {"a.npy": b"\x93NUMPY no", "b.npy": None}.items():
        if content is None:
            np.save(tmp_path / name, np.ones((2, 2)))
        else:
            (tmp_path / name).write_bytes(content)
        source = Source(type="tokens", path=str(tmp_path / name), end_id=0)
        with pytest.raises(UserError, match=name):
            list(sources.read(source, sources.parts(source)[0], bytes_tokenizer()))


@pytest.mark.parametrize("packed", [False, True])
def test_a_document_that_would_take_all_memory_is_named(
    packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 2 << 20)
    rows = b'{"text": "short"}\n' + b"\0" * (3 << 20)
    (tmp_path / "rows.jsonl").write_bytes(gzip.compress(rows) if packed else rows)
    with pytest.raises(UserError, match=r"rows.jsonl:2: a document of more than 2 MiB. Use shorter lines."):
        _read({"type": "jsonl", "path": str(tmp_path / "rows.jsonl"), "label": "a"})
    (tmp_path / "long.txt").write_bytes(rows)
    source = {"type": "text", "path": str(tmp_path / "long.txt")}
    with pytest.raises(UserError, match=r"long.txt: a document of .* 2 MiB. Use shorter files, or document: line"):
        _read(source)
    monkeypatch.setattr(files, "MOST_BYTES", len(rows))
    assert [document.data for document in _read(source)] == [rows]


def _read(source: dict[str, object]) -> list[Document]:
    made = Source.model_validate(source)
    return [each for part in sources.parts(made) for each in sources.read(made, part)]


def test_a_file_that_changes_changes_its_identity(tmp_path: Path) -> None:
    for make in (as_jsonl, as_parquet):
        source = Source.model_validate(make(tmp_path))
        (part,) = sources.parts(source)
        before = sources.identity(source, part)
        assert before == sources.identity(source, part)
        Path(part).write_bytes(Path(part).read_bytes() + b"\n")
        assert before != sources.identity(source, part)


@pytest.mark.parametrize("wrong", [
    {"type": "jsonl"}, {"type": "text", "path": "x", "text_field": "body"}, {"type": "seqio", "task": "t"},
    {"type": "jsonl", "path": "x", "end_id": 3}, {"type": "installed_python", "path": "x"},
])
def test_keys_of_another_kind_of_source_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs|takes no"):
        Source.model_validate(wrong)


