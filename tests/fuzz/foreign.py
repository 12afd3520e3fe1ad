"""Readers of what comes from elsewhere: exported sets, task files, Parquet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from splitjax.config import Data
from splitjax.data import sources
from splitjax.evaluate import task_files, tasks
from splitjax.serving import loaded_models
from tests.serving.forged import write_set

Made = tuple[Path, bytes, Callable[[], object], str, tuple[str, ...]]
"""What a `Parser` is made of."""
TASK = b"""\
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_choice: [a, b]
doc_to_target: 0
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
filter_list:
  - {name: first, filter: [{function: take_first}]}
"""


def readers(home: Path) -> dict[str, Made]:
    """By name."""
    folder = write_set(home / "set")

    def read() -> None:
        found = loaded_models.of_folder(folder)
        found.chooser.choose("if x then")

    words = ("generate", str(folder), "x", "--max-tokens", "1")
    files = {
        "export.json": ("export.json", "record"), "router.json": ("router.json", "record"),
        "model config": ("code/config.json", "yaml"), "weights index": ("code/model.safetensors.index.json", "yaml"),
        "generation config": ("code/generation_config.json", "yaml"),
        "tokenizer config": ("code/tokenizer_config.json", "yaml"), "clusterer": ("clusterer.npz", "text"),
    }
    found: dict[str, Made] = {
        name: (folder / file, (folder / file).read_bytes(), read, kind, words) for name, (file, kind) in files.items()
    }
    task, items, rows = home / "task.yaml", home / "items.jsonl", home / "docs.parquet"
    task.write_bytes(TASK)
    found["task yaml"] = (task, TASK, lambda: task_files.read(task), "yaml", ())
    lines = b'{"query": "q", "choices": ["a", "b"], "gold": 1}\n{"query": "r", "choices": ["c", "d"], "gold": 0}\n'
    items.write_bytes(lines)
    found["task items"] = (items, lines, lambda: tasks.read(items), "text", ())
    parquet.write_table(pa.table({"text": ["some words", "more"], "domain": ["a", "b"]}), rows)
    source = Data.model_validate({"sources": [{"type": "parquet", "path": str(rows)}]}).sources[0]
    found["parquet documents"] = (rows, rows.read_bytes(), lambda: list(sources.read(source, str(rows))), "text", ())
    return found
