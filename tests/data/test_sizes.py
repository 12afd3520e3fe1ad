"""More files than a process may open, and documents too long to be looked at in one: memory and ids."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from splitjax.data import minhash
from splitjax.data.tokenizing import cutting
from splitjax.data.tokenizing.fast_tokenizer import FastTokenizer, bytes_tokenizer, train_bpe

from .conftest import WORDS
from .test_foreign_tokenizers import SHAPES, ours

LINES = ["def f(x):", "    return x  # ## 12", "", "Wow!  é😀", "the sea, the ship; (and) 素数は無限。", "\t-- [a]  "]


def long_text(chars: int, seed: int = 0) -> str:
    rng = random.Random(seed)
    words = [word for words in WORDS.values() for word in words]
    lines = (rng.choice(LINES) if rng.random() < 0.2 else " ".join(rng.choices(words, k=9)) for _ in range(chars // 40))
    return "\n".join(lines)


@pytest.mark.parametrize("kind", [*SHAPES, "bpe", "bytes"])
def test_a_long_text_has_the_ids_that_it_has_in_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "_PIECE", 3000)
    monkeypatch.setattr(cutting, "_AROUND", 256)
    trained = {"bpe": lambda: train_bpe(LINES * 3, 400), "bytes": bytes_tokenizer}
    tokenizer = trained[kind]() if kind in trained else ours(kind, tmp_path)
    text = long_text(60_000)
    whole = tokenizer.encode(text)
    for size in (700, 100_000):
        parts = list(tokenizer.encode_long(text[at : at + size] for at in range(0, len(text), size)))
        assert np.concatenate(parts).tolist() == whole
        assert len(parts) > 15
    (one,) = tokenizer.encode_long(["x" * 9000])
    assert one.tolist() == tokenizer.encode("x" * 9000), "nowhere to cut"


def merging(vocab: list[str], merges: list[tuple[str, str]], end: str = "</s>") -> FastTokenizer:
    """BPE over the whole of a text: nothing parts words."""
    from tokenizers import Tokenizer, models

    fast = Tokenizer(models.BPE({piece: index for index, piece in enumerate([*vocab, end])}, merges))
    fast.add_special_tokens([end])
    return FastTokenizer(fast.to_str().encode(), len(vocab))


def test_no_cut_is_made_where_a_piece_of_the_vocabulary_could_go_across(monkeypatch: pytest.MonkeyPatch) -> None:
    """An odd run's last a merges with the space; around the place stands an even part of the run, which hides it."""
    monkeypatch.setattr(cutting, "_PIECE", 3000)
    monkeypatch.setattr(cutting, "_AROUND", 256)
    text = ("a" * 2901 + " b") * 5
    across = merging(["a", "b", " ", "aa", "a "], [("a", "a"), ("a", " ")])
    around = [text[at - 256 : at + 256] for at in range(256, 4000) if text[at] == " "]
    assert all(across.encode(t) == across.encode(t[:256]) + across.encode(t[256:]) for t in around)
    (one,) = across.encode_long([text])
    assert one.tolist() == across.encode(text)
    sure = merging(["a", "b", " ", "aa", " b"], [("a", "a"), (" ", "b")])
    parts = list(sure.encode_long([text]))
    assert len(parts) > 2
    assert np.concatenate(parts).tolist() == sure.encode(text)


@pytest.mark.parametrize(("left", "right", "crossed"), [
    ("a", " ", False), ("a", "!", True),  # "a!" is a piece
    ("é", " ", True),  # a piece holds the second byte of é and a space
    ("è", " ", False), ("素", "。", True), ("数", "。", False),
])
def test_pieces_that_hold_a_part_of_a_letter_count(left: str, right: str, crossed: bool) -> None:
    level = dict(enumerate(cutting._alphabet()))

    def written(data: bytes) -> str:
        return "".join(level[byte] for byte in data)

    pieces = [b"a!", "é".encode()[1:] + b" ", "素".encode() + "。".encode()[:1], b"x a", b"! "]
    cutter = merging([*level.values(), *map(written, pieces)], [])._cutter
    assert cutter._crossed(left, right) is crossed


def test_the_alphabet_of_bytes_is_the_librarys() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert sorted(cutting._alphabet()) == sorted(ByteLevel.alphabet())
    level = ByteLevel(add_prefix_space=False, use_regex=False)
    for letter in "a é素\n\t\xad😀":
        assert "".join(cutting._alphabet()[byte] for byte in letter.encode()) == level.pre_tokenize_str(letter)[0][0]


def test_sketches_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [long_text(size, size).encode() for size in (0, 40, 400, 4000, 40_000)] + [b"x" * 31, b"x" * 32, b"x" * 33]
    whole = minhash.sketches(texts)
    for block in (1, 100, 4096):
        monkeypatch.setattr(minhash, "_BLOCK", block)
        np.testing.assert_array_equal(minhash.sketches(texts), whole)


def in_a_shell(limits: str, config: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = f"{limits}; exec {sys.executable} -m splitjax prepare {config} {' '.join(args)}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True)


def write_config(folder: Path, **source: object) -> Path:
    told = {
        "run_dir": str(folder / "run"), "budget": {"tokens": "4k"}, "split": 0.5, "sweep": None,
        "train": {"seq_len": 32, "batch_size": 2}, "evaluate": {"prefix": 8, "windows": 4},
        "model": {"d_model": 16, "n_layers": 1, "n_heads": 1},
        "data": {"sources": [source], "tokenizer": {"type": "bytes"}, "validation": 0.2, "test": 0.2},
    }
    (folder / "c.yaml").write_text(json.dumps(told))
    return folder / "c.yaml"


@pytest.mark.slow
def test_more_files_and_shards_than_may_be_open(tmp_path: Path) -> None:
    for domain, words in WORDS.items():
        (tmp_path / "in" / domain).mkdir(parents=True)
        for index in range(500):
            text = " ".join(random.Random(index).choices(words, k=20))
            (tmp_path / "in" / domain / f"{index}.txt").write_text(f"{index} {text}")
    config = write_config(tmp_path, type="text", path=str(tmp_path / "in"))
    done = in_a_shell("ulimit -n 256", str(config), "data.shards=90")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "run" / "data").rglob("*.arrayrecord"))) > 256
    code = ("import sys; from splitjax.data import Corpus; c = Corpus.open(sys.argv[1]);"
            "c.mixture(4, 32, 0).batch(3); print([len(c.held_out('test', d, 4, 32)) for d in c.domains])")
    command = f"ulimit -n 200; exec {sys.executable} -c \"{code}\" {tmp_path / 'run' / 'data'}"
    read = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert read.stdout == "[4, 4, 4]\n", read.stderr


@pytest.mark.slow
def test_a_long_document_takes_memory_of_its_size(tmp_path: Path) -> None:
    size = 12_000_000
    text = long_text(size // 20) * 20
    rng = random.Random(0)
    for domain, words in WORDS.items():
        (tmp_path / "in" / domain).mkdir(parents=True)
        for index in range(30):
            (tmp_path / "in" / domain / f"{index}.txt").write_text(" ".join(rng.choices(words, k=60)))
    config = write_config(tmp_path, type="text", path=str(tmp_path / "in"))
    script = (
        "import resource, sys; from splitjax import cli; code = cli.main(['prepare', sys.argv[1], *sys.argv[2:]]);"
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak(*args: str) -> int:
        done = subprocess.run([sys.executable, "-c", script, str(config), *args], capture_output=True, text=True)
        code, kilobytes = done.stdout.split()[-2:]
        assert code == "0", done.stderr
        return int(kilobytes) * 1024

    without = peak()
    (tmp_path / "in" / "sea" / "long.txt").write_text(text)
    grown = peak(f"run_dir={tmp_path / 'other'}") - without
    assert grown < 4 * size, f"{grown / size:.1f} times"
