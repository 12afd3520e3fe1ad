"""A seqio Mixture of a module that the config names goes through the whole job; TensorFlow stays outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("seqio", reason="seqio has no release for this Python")

MODULE = """
import seqio
import tensorflow as tf

FEATURES = {"targets": seqio.Feature(seqio.ByteVocabulary(), add_eos=False)}

def made(split, shuffle_files=False, seed=None):
    texts = [f"court clause {i} of statute {i * i} " * 5 for i in range(300)]
    return tf.data.Dataset.from_tensor_slices({"targets": texts})

seqio.TaskRegistry.add(
    "lines", seqio.TextLineDataSource({"train": "lines.txt"}),
    preprocessors=[lambda lines: lines.map(lambda line: {"targets": line}), seqio.preprocessors.tokenize],
    output_features=FEATURES)
seqio.TaskRegistry.add(
    "made", seqio.FunctionDataSource(made, splits=["train"]),
    preprocessors=[seqio.preprocessors.tokenize], output_features=FEATURES)
seqio.MixtureRegistry.add("both", [("lines", 1.0), ("made", 3.0)])
"""

CONFIG = """
name: both
run_dir: run
data:
  sources: [{type: seqio, module: own_tasks, task: both}]
  tokenizer: {type: bytes}
  validation: 0.2
  test: 0.2
  near_duplicates: null
model: {d_model: 16, n_layers: 1, n_heads: 2}
train: {seq_len: 32, batch_size: 4, warmup: 128}
budget: {tokens: 4k}
split: 0.5
evaluate: {windows: 4, prefix: 8}
"""

RUN = """
import json, sys
from splitjax import stages
from splitjax.config import load
results = stages.run(load("c.yaml"))
heavy = sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "seqio", "apache_beam"})
print(json.dumps({"domains": results["domains"], "heavy": heavy, "loss": results["models"]["planned"]["test"]["mean"]}))
"""


@pytest.mark.slow  # by default: its ids and rates in tests/data/test_seqio.py, the imports of a run in test_network.py
def test_a_seqio_mixture_trains_and_the_training_process_has_no_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "own_tasks.py").write_text(MODULE)
    lines = [f"sea captain number {i} sails ship {i * 7} to port {i % 11} " * 4 for i in range(300)]
    (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "c.yaml").write_text(CONFIG)
    done = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["heavy"] == []
    assert sorted(told["domains"]) == ["lines", "made"]
    assert 0 < told["loss"] < 6
    manifest = json.loads((tmp_path / "run" / "data" / "manifest.json").read_text())
    weights = dict(zip(manifest["domains"], manifest["weights"], strict=True))
    assert weights["made"] > weights["lines"], "the mixture's own rates, not the sizes"
