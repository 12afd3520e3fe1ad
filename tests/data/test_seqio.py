"""A seqio Mixture of a TextLine and a function Task: its ids, its rates, and no TensorFlow where training happens."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from splitjax.data import Corpus
from splitjax.data.tokenizing.sentencepiece_tokenizer import train_unigram

from .conftest import rows_of

pytest.importorskip("seqio", reason="seqio has no release for this Python")

MODULE = '''
import seqio
import tensorflow as tf

VOCABULARY = seqio.SentencePieceVocabulary("spm.model", extra_ids=0)
FEATURES = {"targets": seqio.Feature(VOCABULARY, add_eos=True)}

def made(split, shuffle_files=False, seed=None):
    return tf.data.Dataset.from_tensor_slices({"targets": [f"court clause {i} of statute {i * i}" for i in range(300)]})

STEPS = [seqio.preprocessors.tokenize, seqio.preprocessors.append_eos]
seqio.TaskRegistry.add(
    "lines", seqio.TextLineDataSource({"train": "lines.txt"}),
    preprocessors=[lambda lines: lines.map(lambda line: {"targets": line}), *STEPS], output_features=FEATURES)
seqio.TaskRegistry.add("made", seqio.FunctionDataSource(made, splits=["train"]),
    preprocessors=STEPS, output_features=FEATURES)
seqio.MixtureRegistry.add("both", [("lines", 1.0), ("made", 4.0)])
'''

CHILD = '''
import collections, json, sys
import seqio
from splitjax.config import Data
from splitjax.data import Corpus, prepare

source = {"type": "seqio", "module": "own_tasks", "task": "both"}
common = {"sources": [source], "validation": 0.1, "test": 0.1, "near_duplicates": None}
spm = {"tokenizer": {"type": "sentencepiece", "path": "spm.model"}}
kept = prepare(Data.model_validate(common | spm), "kept", seed=0)
other = prepare(Data.model_validate(common | {"tokenizer": {"type": "bytes"}}), "other", seed=0)
dataset = seqio.get_mixture_or_task("both").get_dataset(
    sequence_length=None, split="train", shuffle=False, num_epochs=None, use_cached=False)
drawn = [example["targets"].tolist() for example in dataset.take(4000).as_numpy_iterator()]
each = {name: [example["targets"].tolist() for example in seqio.get_mixture_or_task(name).get_dataset(
    sequence_length=None, split="train", shuffle=False).as_numpy_iterator()] for name in ("lines", "made")}
json.dump({"drawn": drawn, "each": each}, open("told.json", "w"))
'''


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seqio")
    texts = [row["text"] for row in rows_of(300, labels=("sea",))]
    (folder / "lines.txt").write_text("".join(text + "\n" for text in texts))
    (folder / "spm.model").write_bytes(train_unigram([*texts, "court clause 0123456789 of statute"], 400).data)
    (folder / "own_tasks.py").write_text(MODULE)
    child = subprocess.run([sys.executable, "-c", CHILD], cwd=folder, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-3000:]
    return folder


def test_documents_hold_the_ids_of_seqio(prepared: Path) -> None:
    told = json.loads((prepared / "told.json").read_text())
    corpus = Corpus.open(prepared / "kept")
    assert corpus.domains == ("lines", "made")
    for domain, examples in told["each"].items():
        runs = [corpus._run(split, corpus.domains.index(domain)) for split in ("train", "validation", "test")]
        tokens = np.concatenate([run.read(0, len(run)) for run in runs])
        found = sorted(part[1:].tolist() for part in np.split(tokens, np.flatnonzero(tokens == 0))[1:])
        assert found == sorted(ids[:-1] for ids in examples), "all but the end of sequence"


def test_the_mixture_draws_tokens_at_the_rates_of_seqio(prepared: Path) -> None:
    told = json.loads((prepared / "told.json").read_text())
    lines = {tuple(ids) for ids in told["each"]["lines"]}
    drawn = np.array([(len(ids), tuple(ids) not in lines) for ids in told["drawn"]])
    tokens = np.bincount(drawn[:, 1], drawn[:, 0])
    corpus = Corpus.open(prepared / "kept")
    share_K = corpus.mixture_counts(10_000, 16, 0) / 10_000
    assert share_K == pytest.approx(tokens / tokens.sum(), abs=0.02)
    assert share_K != pytest.approx(np.array(corpus.manifest.sizes) / sum(corpus.manifest.sizes), abs=0.1)


def test_another_tokenizer_reads_the_same_text(prepared: Path) -> None:
    corpus = Corpus.open(prepared / "other")
    texts = {text for split in ("train", "validation", "test") for text in corpus.show("lines", 10**6, split)}
    assert texts == set((prepared / "lines.txt").read_text().splitlines())


def test_a_process_that_reads_the_streams_never_loads_tensorflow(prepared: Path) -> None:
    code = (
        "import sys; import splitjax.data as d; c = d.Corpus.open('kept');"
        "s = d.stack([c.domain(k, 2, 16, 0) for k in range(2)]);"
        "print(next(d.prefetch(s, 0, 3)).shape, c.held_out('test', 0, 2, 16).shape);"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'seqio', 'apache_beam')])"
    )
    child = subprocess.run([sys.executable, "-c", code], cwd=prepared, capture_output=True, text=True, check=True)
    assert child.stdout == "(2, 2, 17) (2, 17)\n[]\n"
