"""A tiny corpus of three labels, prepared once."""

import json
import random
from pathlib import Path

import pytest

from splitjax.config import Data
from splitjax.data import Corpus, prepare

WORDS = {
    "sea": ["ship", "wave", "salt", "anchor", "harbour", "tide", "mast", "gull", "rope", "storm", "sail", "deck"],
    "law": ["court", "clause", "statute", "judge", "appeal", "party", "section", "order", "plea", "writ", "act"],
    "lab": ["cell", "enzyme", "assay", "dose", "trial", "patient", "sample", "protein", "serum", "tissue", "gene"],
}


def rows_of(count: int, seed: int = 0, labels: tuple[str, ...] = tuple(WORDS)) -> list[dict[str, str]]:
    """`count` documents a label, of that label's words."""
    rng = random.Random(seed)
    return [
        {"text": " ".join(rng.choices(WORDS[label], k=rng.randint(20, 120))) + f" {index}.", "domain": label}
        for index in range(count)
        for label in labels
    ]


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def settings(path: Path | str, **changes: object) -> Data:
    base: dict[str, object] = {
        "sources": [{"type": "jsonl", "path": str(path)}],
        "tokenizer": {"vocab_size": 320},
        "validation": 0.15,
        "test": 0.15,
    }
    return Data.model_validate(base | changes)


@pytest.fixture(scope="session")
def tiny_jsonl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("source") / "tiny.jsonl", rows_of(60))


@pytest.fixture(scope="session")
def tiny(tiny_jsonl: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    out = tmp_path_factory.mktemp("prepared") / "data"
    prepare(settings(tiny_jsonl, shards=2), out, seed=0)
    return Corpus.open(out)
