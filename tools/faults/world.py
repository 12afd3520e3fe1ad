"""A tiny corpus of three made-up languages and a config whose whole run takes seconds: what the fault suite damages."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

WORDS = {
    "sums": [str(n) for n in range(10, 60)] + ["plus", "minus", "is"],
    "colours": ["red", "green", "blue", "dark", "light", "pale", "very", "not", "and", "or"],
    "moves/<turns>": ["north", "south", "east", "west", "step", "turn", "stop", "wait", "twice", "back"],
}


def write_corpus(path: Path, documents: int = 240) -> Path:
    """A JSONL file of documents with labels, always the same."""
    rng = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(documents):
            domain = list(WORDS)[number % len(WORDS)]
            text = f"{domain} {number}: " + " ".join(rng.choices(WORDS[domain], k=rng.randint(60, 160)))
            file.write(json.dumps({"text": text, "domain": domain}) + "\n")
    return path


def tiny_tree(corpus: Path, run_dir: Path) -> dict[str, Any]:
    """A config with every stage; its figures mean nothing."""
    return {
        "name": "tiny",
        "run_dir": str(run_dir),
        "data": {
            "sources": [{"type": "jsonl", "path": str(corpus)}],
            "tokenizer": {"vocab_size": 300},
            "validation": 0.15,
            "test": 0.15,
        },
        "model": {"d_model": 16, "n_layers": 1, "n_heads": 2},
        "train": {"seq_len": 32, "batch_size": 4, "warmup": 512, "base_width": 16},
        "budget": {"tokens": "6k"},
        "sweep": {
            "models": [{"d_model": d, "n_layers": 1, "n_heads": 2} for d in (8, 12, 16)],
            "d_pretrain": [512, "2k"],
            "d_special": [0, 512],
        },
        "law": {"families": ["effective_data"], "bootstrap": 10},
        "evaluate": {"windows": 4, "prefix": 8},
    }


MAIN_ALONE = {"split": 0.5, "sweep": None, "law": None}
"""Changes to the tiny config for where a sweep shows nothing more: an explicit split (None leaves a key out)."""


def command(*words: object) -> list[str]:
    """splitjax as a person starts it."""
    return [sys.executable, "-m", "splitjax", *map(str, words)]


def environment() -> dict[str, str]:
    """Compiled programs kept between starts: a start then takes seconds, and there are hundreds."""
    cache = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0"}
    return os.environ | {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"} | cache
