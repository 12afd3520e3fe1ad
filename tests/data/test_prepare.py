"""Sources to shards: what is kept, where it goes, that it does not depend on how, and what is refused."""

import gzip
import json
import math
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.data import Corpus, prepare
from splitjax.data.documents import SPLITS, mix

from .conftest import WORDS, rows_of, settings, write_jsonl


def documents(corpus: Corpus, split: str) -> list[str]:
    return [text for domain in corpus.domains for text in corpus.show(domain, 10**6, split)]


def test_every_document_lands_once_in_one_split(tiny: Corpus, tiny_jsonl: Path) -> None:
    told = sorted(json.loads(line)["text"] for line in tiny_jsonl.read_text().splitlines())
    assert sorted(text for split in SPLITS for text in documents(tiny, split)) == told
    assert tiny.domains == ("lab", "law", "sea")
    for domain in tiny.domains:
        words = {word for text in tiny.show(domain, 10**6) for word in text.split()}
        assert set(WORDS[domain]) <= words
        assert not words & {word for other in WORDS if other != domain for word in WORDS[other]}


def test_tokens_are_documents_each_begun_by_end_of_text(tiny: Corpus) -> None:
    run = tiny._run("train", 0)
    tokens = run.read(0, len(run))
    assert tokens[0] == 0
    assert (tokens == 0).sum() == tiny.manifest.counts("documents", "train")[0]
    assert len(tokens) == tiny.tokens("train", 0) == tiny.manifest.sizes[0]


def test_the_same_bytes_come_out_however_it_is_done(tiny: Corpus, tiny_jsonl: Path, tmp_path: Path) -> None:
    """Two processes, other parts, .gz, another order of lines: equal shards."""
    rows = tiny_jsonl.read_text().splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_text("".join(rows[100:]))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write("".join(rows[:100]))
    data = settings(tmp_path / "*.jsonl*", shards=2, workers=2)
    manifest = prepare(data, tmp_path / "out", seed=0)
    assert manifest.hash == tiny.manifest.hash
    assert [s.hash for s in manifest.shards] == [s.hash for s in tiny.manifest.shards]


def test_the_run_of_tokens_does_not_depend_on_the_number_of_shards(
    tiny: Corpus, tiny_jsonl: Path, tmp_path: Path
) -> None:
    prepare(settings(tiny_jsonl, shards=5), tmp_path / "out", seed=0)
    other = Corpus.open(tmp_path / "out")
    assert len([s for s in other.manifest.shards if s.split == "train"]) == 15
    for split in SPLITS:
        for k in range(3):
            run, theirs = tiny._run(split, k), other._run(split, k)
            assert run.read(0, len(run)).tolist() == theirs.read(0, len(theirs)).tolist()


def test_the_seed_reorders_documents_but_moves_none_across_splits(
    tiny: Corpus, tiny_jsonl: Path, tmp_path: Path
) -> None:
    prepare(settings(tiny_jsonl, shards=2), tmp_path / "out", seed=1)
    other = Corpus.open(tmp_path / "out")
    for split in SPLITS:
        assert sorted(documents(other, split)) == sorted(documents(tiny, split))
    assert documents(other, "train") != documents(tiny, "train")


def test_duplicates_and_empty_documents_are_dropped_and_counted(tiny_jsonl: Path, tmp_path: Path) -> None:
    rows = rows_of(60)
    source = write_jsonl(tmp_path / "d.jsonl", [*rows, *rows[:7], {"text": "", "domain": "sea"}])
    manifest = prepare(settings(source), tmp_path / "out", seed=0)
    assert manifest.dropped == {"empty": 1, "exact_duplicates": 7, "near_duplicates": 0, "beyond_max_chars": 0}
    assert sum(sum(manifest.counts("documents", split)) for split in SPLITS) == 180


def test_validation_and_test_have_each_the_share_asked_for(tmp_path: Path) -> None:
    """Of unequal shares, by the hash of the text alone: worked out here from its first 64 bits."""
    rows = rows_of(100, labels=("sea", "law"))
    data = settings(write_jsonl(tmp_path / "d.jsonl", rows), tokenizer={"type": "bytes"}, validation=0.3, test=0.1)
    manifest = prepare(data, tmp_path / "out", seed=0)
    expected = {split: [0, 0] for split in SPLITS}
    for row in rows:
        word = np.frombuffer(blake2b(row["text"].encode(), digest_size=16).digest()[:8], "<u8")
        u = float(mix(word, 1)[0]) / 2**64
        split = "test" if u < 0.1 else "validation" if u < 0.4 else "train"
        expected[split][("law", "sea").index(row["domain"])] += 1
    assert manifest.domains == ("law", "sea")
    assert {split: list(manifest.counts("documents", split)) for split in SPLITS} == expected
    assert sum(expected["validation"]) > 2 * sum(expected["test"]) > 0


def test_max_chars_caps_each_label_by_hash(tiny_jsonl: Path, tmp_path: Path) -> None:
    source = {"type": "jsonl", "path": str(tiny_jsonl), "max_chars": 12_000}
    prepare(settings("", sources=[source]), tmp_path / "out", seed=0)
    corpus = Corpus.open(tmp_path / "out")
    for domain in corpus.domains:
        chars = sum(len(text) for split in SPLITS for text in corpus.show(domain, 10**6, split))
        assert 10_000 < chars <= 12_000


def test_text_field_label_field_and_label(tmp_path: Path) -> None:
    rows = [{"body": row["text"], "kind": row["domain"]} for row in rows_of(60)]
    path = str(write_jsonl(tmp_path / "d.jsonl", rows))
    by_field = {"type": "jsonl", "path": path, "text_field": "body", "label_field": "kind"}
    assert prepare(settings("", sources=[by_field]), tmp_path / "a", seed=0).domains == ("lab", "law", "sea")
    named = by_field | {"label": "all"}
    assert prepare(settings("", sources=[named]), tmp_path / "b", seed=0).domains == ("all",)
    without = by_field | {"label_field": None}
    with pytest.raises(UserError, match=r"d.jsonl: holds a document without a label"):
        prepare(settings("", sources=[without]), tmp_path / "c", seed=0)


def test_vocab_size_and_sample_chars_reach_the_tokenizer(tiny: Corpus, tiny_jsonl: Path, tmp_path: Path) -> None:
    bigger = prepare(settings(tiny_jsonl, tokenizer={"vocab_size": 350}), tmp_path / "a", seed=0)
    assert (bigger.tokenizer["vocab_size"], tiny.vocab_size) == (350, 320)
    less = prepare(settings(tiny_jsonl, tokenizer={"vocab_size": 320, "sample_chars": 1000}), tmp_path / "b", seed=0)
    assert less.tokenizer["hash"] != tiny.tokenizer.hash


def test_unigram_entropy_and_token_bytes(tiny: Corpus) -> None:
    tokens = np.concatenate([(run := tiny._run("test", k)).read(0, len(run)) for k in range(3)])
    share = np.unique(tokens, return_counts=True)[1] / len(tokens)
    assert tiny.unigram_entropy("test") == pytest.approx(-(share * np.log(share)).sum())
    assert tiny.unigram_entropy("test", "sea") < tiny.unigram_entropy("test") < math.log(tiny.vocab_size)
    text = tiny.show("sea", 1)[0]
    assert tiny.token_bytes_V[tiny.tokenizer.encode(text)].sum() == len(text.encode())


def test_progress_is_told_often_and_only_rises(tiny_jsonl: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    prepare(settings(tiny_jsonl), tmp_path / "out", seed=0, progress=lambda *each: told.append(each))
    fractions = [done for _, done, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert told[-1][2] == 0.0 < told[0][2], "seconds left"
    assert len({what for what, _, _ in told}) == 5


def test_standing_data_are_kept_and_other_settings_or_sources_refused(tiny_jsonl: Path, tmp_path: Path) -> None:
    source = tmp_path / "d.jsonl"
    source.write_bytes(tiny_jsonl.read_bytes())
    first = prepare(settings(source), tmp_path / "out", seed=0)
    stamp = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    assert prepare(settings(source, workers=2), tmp_path / "out", seed=0).hash == first.hash
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="prepared with other settings"):
        prepare(settings(source, shards=3), tmp_path / "out", seed=0)
    with source.open("a") as file:
        file.write('{"text": "more", "domain": "sea"}\n')
    with pytest.raises(UserError, match=r"d.jsonl: has changed since"):
        prepare(settings(source), tmp_path / "out", seed=0)


BAD = {
    "no file": (None, r"none.jsonl: no such file"),
    "malformed": ('{"text": "a", "domain": "b"}\n{"text": ', r"d.jsonl:2: not a JSON object"),
    "not utf-8": (b'\n{"text": "\xff\xfe"}\n', r"d.jsonl:2: not UTF-8"),
    "a list": ("[1]\n", r"d.jsonl:1: not a JSON object but list"),
    "no text": ('{"txt": "a"}\n', r"d.jsonl:1: no field 'text'.*Did you mean 'txt'"),
    "text a number": ('{"text": 3}\n', r"d.jsonl:1: field 'text' is int"),
    "half a pair": ('{"text": "\\ud800", "domain": "b"}\n', r"d.jsonl:1: .*surrogate"),
    "label a list": ('{"text": "a", "domain": [1]}\n', r"d.jsonl:1: field 'domain' is list"),
    "empty": ("\n", r"hold no document to train on"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("workers", [1])
def test_a_bad_source_is_one_clear_line_and_nothing_is_left(name: str, workers: int, tmp_path: Path) -> None:
    content, message = BAD[name]
    path = tmp_path / ("none.jsonl" if content is None else "d.jsonl")
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message) as caught:
        prepare(settings(path, workers=workers), tmp_path / "out", seed=0)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows_of(60)).encode())
    (tmp_path / "d.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"d.jsonl.gz: cannot be read to its end"):
        prepare(settings(tmp_path / "d.jsonl.gz"), tmp_path / "out", seed=0)


def test_an_error_in_a_worker_is_the_same_line(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", rows_of(5))
    (tmp_path / "b.jsonl").write_text("{\n")
    with pytest.raises(UserError, match=r"b.jsonl:1: not a JSON object"):
        prepare(settings(tmp_path / "*.jsonl", workers=2), tmp_path / "out", seed=0)


def test_a_domain_without_documents_in_a_split_is_named(tmp_path: Path) -> None:
    rows = [*rows_of(60), {"text": "alone", "domain": "lonely"}]
    with pytest.raises(UserError, match="domain 'lonely' has no "):
        prepare(settings(write_jsonl(tmp_path / "d.jsonl", rows)), tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


LIMITED = """
import resource, sys
from pathlib import Path
from splitjax.config import Data, UserError
from splitjax.data import prepare
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)  # as a full disk: a write fails half-way
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    prepare(Data.model_validate({"sources": [{"type": "jsonl", "path": sys.argv[1]}], "validation": 0.15, "test": 0.15,
                                 "tokenizer": {"vocab_size": 320}}), sys.argv[2], seed=0)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [1000, 20_000, 100_000])
def test_a_full_disk_is_one_line_and_nothing_is_left(limit: int, tiny_jsonl: Path, tmp_path: Path) -> None:
    """At the spool, at the tokenizer and its arrays, and at the shards, which are padded to 64 KiB blocks."""
    command = [sys.executable, "-c", LIMITED, str(tiny_jsonl), str(tmp_path / "out"), str(limit)]
    child = subprocess.run(command, capture_output=True, text=True)
    assert "cannot be written" in child.stdout, child.stdout + child.stderr[-2000:]
    assert child.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
