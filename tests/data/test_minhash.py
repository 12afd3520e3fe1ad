"""Near-duplicates: what the sketch estimates, what is dropped, and that none straddles train and held-out."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitjax.data import Corpus, prepare
from splitjax.data.documents import SPLITS
from splitjax.data.manifest import Manifest
from splitjax.data.minhash import SHINGLE, sketches, twins

from .conftest import WORDS, rows_of, write_jsonl
from .conftest import settings as data_settings


def similarity(a: bytes, b: bytes) -> float:
    one, two = ({text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)} for text in (a, b))
    return len(one & two) / len(one | two)


def edited(text: bytes, edits: int, rng: random.Random) -> bytes:
    changed = bytearray(text)
    for _ in range(edits):
        changed[rng.randrange(len(text))] = rng.randrange(97, 122)
    return bytes(changed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(200, 4000), st.integers(0, 12))
def test_the_share_of_equal_bins_is_the_jaccard_similarity(seed: int, size: int, edits: int) -> None:
    rng = random.Random(seed)
    text = bytes(rng.choices(range(97, 122), k=size))
    other = edited(text, edits, rng)
    found = sketches([text, other])
    assert (found[0] == found[1]).mean() == pytest.approx(similarity(text, other), abs=0.2)


@given(st.lists(st.binary(max_size=90), min_size=1, max_size=8))
def test_a_sketch_does_not_depend_on_its_neighbours(texts: list[bytes]) -> None:
    assert np.array_equal(sketches(texts), np.concatenate([sketches([text]) for text in texts]))


def test_the_later_of_near_duplicates_is_found_and_others_are_left() -> None:
    rng = random.Random(0)
    texts = [bytes(rng.choices(range(97, 122), k=1500)) for _ in range(200)]
    copies = [edited(text, 2, rng) for text in texts[:50]]
    later = twins(sketches(texts + copies), 0.8) >= 0
    assert not later[:200].any()
    assert later[200:].sum() >= 49
    assert (twins(sketches(texts + copies), 0.999)[200:] < 0).all()
    assert (twins(sketches([b"short", b"other short"]), 0.8) < 0).all()


def windows(count: int = 150, size: int = 4000, step: int = 200) -> list[bytes]:
    """A chain: each window is like the next (Jaccard 0.9), and the ends share nothing."""
    rng = random.Random(5)
    text = bytes(rng.choices(range(97, 122), k=size + step * count))
    return [text[step * index : step * index + size] for index in range(count)]


def test_a_chain_of_near_duplicates_does_not_shrink_to_one() -> None:
    chain = windows()
    sketch = sketches(chain)
    twin = twins(sketch, 0.8)
    kept = np.flatnonzero(twin < 0)
    assert len(kept) >= 150 * 200 / 600, "windows more than 444 characters apart are no near-duplicates"
    for row in np.flatnonzero(twin >= 0):
        assert twin[row] < row
        assert twin[twin[row]] < 0, "what it is dropped for is kept"
        assert (sketch[row] == sketch[twin[row]]).mean() >= 0.8
    # By hand, in order: what is like no kept one before it is kept (a bucket may miss a pair near the threshold).
    wanted: list[int] = []
    for row in range(150):
        if not any((sketch[row] == sketch[one]).mean() >= 0.8 for one in wanted):
            wanted.append(row)
    assert len(set(wanted) ^ set(kept.tolist())) <= 6


def test_what_was_dropped_is_told_by_domain_with_examples(tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = [row | {"text": " ".join(rng.choices(WORDS[row["domain"]], k=300))} for row in rows_of(40)]
    copies = [row | {"text": edited(row["text"].encode(), 1, rng).decode()} for row in rows]
    by_domain = {domain: [row for row in copies if row["domain"] == domain] for domain in WORDS}
    twice = by_domain["sea"][:5] + by_domain["law"][:2]
    manifest = prepare(data_settings(write_jsonl(tmp_path / "d.jsonl", rows + twice)), tmp_path / "out", seed=0)
    assert manifest.near_duplicates == {"law": 2, "sea": 5}
    assert len(manifest.near_examples) == 3
    assert manifest.near_examples[0] == (rows[0]["text"][:200], twice[0]["text"][:200])
    told = Manifest.load(tmp_path / "out").notes()
    assert told[:2] == ["documents left out: 7 near duplicates",
                        "near-duplicates left out, by domain: law 2, sea 5; for instance"]
    assert told[2].startswith(f"  “{twice[0]['text'][:50]}…” (kept: “")
    assert len(told) == 5


def test_near_duplicates_are_dropped_before_the_split(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [row | {"text": " ".join(rng.choices(WORDS[row["domain"]], k=300))} for row in rows_of(60)]
    twins = [row | {"text": edited(row["text"].encode(), 1, rng).decode()} for row in rows[:40]]
    path = write_jsonl(tmp_path / "d.jsonl", rows + twins)
    manifest = prepare(data_settings(path), tmp_path / "out", seed=0)
    assert manifest.dropped["near_duplicates"] == 40
    corpus = Corpus.open(tmp_path / "out")
    kept = {text for d in corpus.domains for split in SPLITS for text in corpus.show(d, 999, split)}
    assert kept == {row["text"] for row in rows}, "the first of two stays"
    as_it_is = prepare(data_settings(path, near_duplicates=None), tmp_path / "all", seed=0)
    assert as_it_is.dropped["near_duplicates"] == 0
