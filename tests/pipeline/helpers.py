"""A run small enough that the whole job takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def tiny_tree(corpus_file: Path, run_dir: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "run_dir": str(run_dir),
        "data": {
            "sources": [{"type": "jsonl", "path": str(corpus_file)}],
            "tokenizer": {"vocab_size": 300},
            "validation": 0.15,
            "test": 0.15,
        },
        "model": {"d_model": 24, "n_layers": 1, "n_heads": 2},
        "train": {"seq_len": 32, "batch_size": 4, "warmup": 512, "base_width": 16},
        "budget": {"tokens": "8k"},
        "sweep": {
            "models": [{"d_model": d, "n_layers": 1, "n_heads": 2} for d in (8, 12, 16)],
            "d_pretrain": [0, "1k", "4k"],
            "d_special": [0, 512, "1k"],
        },
        "law": {"bootstrap": 20},
        "evaluate": {"windows": 8, "prefix": 8},
    }
