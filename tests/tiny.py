"""A run small enough that the whole job takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.faults import world


def tiny_tree(corpus_file: Path, run_dir: Path) -> dict[str, Any]:
    """`world.tiny_tree` with a main model above its sweep, and cells enough for its families of laws."""
    tree = world.tiny_tree(corpus_file, run_dir)
    return tree | {
        "model": tree["model"] | {"d_model": 24},
        "budget": {"tokens": "8k"},
        "sweep": tree["sweep"] | {"d_pretrain": [0, "1k", "4k"], "d_special": [0, 512, "1k"]},
        "law": {"bootstrap": 20, "families": ["effective_data", "hernandez", "chinchilla"]},  # all of them take seconds
        "evaluate": {"windows": 8, "prefix": 8},
    }


ONE_SPLIT: dict[str, Any] = {"split": 0.5, "sweep": None, "budget": {"tokens": "3k"}}
"""Changes to the tiny run: one explicit split, so small that compiling is all that takes time."""
