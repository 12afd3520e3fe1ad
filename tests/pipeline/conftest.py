"""A corpus of three made-up languages; one has a name that a page must escape and a path must not swallow."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

WORDS = {
    "sums": [str(n) for n in range(10, 60)] + ["plus", "minus", "is"],
    "colours": ["red", "green", "blue", "dark", "light", "pale", "very", "not", "and", "or"],
    "moves/<turns>": ["north", "south", "east", "west", "step", "turn", "stop", "wait", "twice", "back"],
}


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "docs.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for number in range(360):
            domain = list(WORDS)[number % 3]
            text = f"{domain} {number}: " + " ".join(rng.choices(WORDS[domain], k=rng.randint(60, 160)))
            file.write(json.dumps({"text": text, "domain": domain}) + "\n")
    return path
