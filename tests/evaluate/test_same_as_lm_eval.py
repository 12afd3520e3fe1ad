"""lm-eval through its own `hf` model and in process through ours: the same likelihoods, so the same picks.

Needs the extras `eval` and `torch`, and the items in SPLITJAX_SHARED/benchmarks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax.config import Model
from splitjax.data.tokenizing.fast_tokenizer import FastTokenizer, train_bpe
from splitjax.data.tokenizing.tokenizer_files import transformers_files
from splitjax.evaluate import Scorer, Served, harness, routers
from splitjax.model import LanguageModel, huggingface_config, to_huggingface

pytest.importorskip("lm_eval", reason="the extra 'eval' is not installed")
pytest.importorskip("accelerate", reason="lm-eval's hf model needs accelerate (extra 'torch')")

SHAPES = {
    "Qwen3": Model(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, qk_norm=True),
    "Llama": Model(d_model=32, n_layers=2, n_heads=4, qk_norm=False, tied_embeddings=True),
}
EXPERTS, WINDOW, LIMIT = 2, 512, 500


@pytest.fixture(scope="module")
def files(shared: Path) -> list[Path]:
    return sorted((shared / "benchmarks").glob("*.jsonl"))


@pytest.fixture(scope="module")
def tokenizer(files) -> FastTokenizer:
    return train_bpe([json.loads(line)["query"] for path in files for line in path.open()][:2000], 1000)


def task_of(path: Path) -> dict[str, Any]:
    return {
        "task": path.stem, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "query", "doc_to_choice": "choices",
        "doc_to_target": "gold", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }


def answers(results: dict[str, Any]) -> dict[str, list[np.ndarray]]:
    """Log-likelihoods of each item's choices, by task."""
    return {
        task: [np.array([float(resp[0][0]) for resp in sample["resps"]])
               for sample in sorted(samples, key=lambda sample: sample["doc_id"])]
        for task, samples in results["samples"].items()
    }


def write_folder(folder: Path, model: LanguageModel, params: Any, tokenizer: FastTokenizer) -> Path:
    from safetensors.numpy import save_file

    folder.mkdir()
    described = huggingface_config(model.cfg, model.vocab_size, WINDOW)
    (folder / "config.json").write_text(json.dumps(described))
    tensors = {name: np.ascontiguousarray(array) for name, array in to_huggingface(params).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name, text in transformers_files(tokenizer, WINDOW).items():
        (folder / name).write_text(text)
    return folder


def through_hf(folder: Path, tasks: list[dict[str, Any]]) -> dict[str, list[np.ndarray]]:
    import lm_eval

    told = {"pretrained": str(folder), "device": "cpu", "dtype": "float32", "batch_size": 64}
    found = lm_eval.simple_evaluate(
        model="hf", model_args=told, tasks=tasks, num_fewshot=0, limit=LIMIT, bootstrap_iters=0, log_samples=True
    )
    return answers(found)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", SHAPES)
def test_every_choice_has_the_likelihood_that_lm_evals_own_model_gives(
    kind, files, tokenizer, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    model = LanguageModel(SHAPES[kind], tokenizer.vocab_size)
    # Fresh models say nearly the same of every text: sharper ones have something to pick.
    experts = [jax.tree.map(lambda leaf: 1.5 * leaf, model.init(jax.random.key(seed))) for seed in range(EXPERTS)]
    tasks = [task_of(path) for path in files]
    monkeypatch.setattr(harness, "_task", lambda told, known: told)
    theirs = []
    for k, params in enumerate(experts):
        theirs.append(through_hf(write_folder(tmp_path / f"expert-{k}", model, params, tokenizer), tasks))
        alone = Served(tokenizer, Scorer(model, jax.tree.map(lambda leaf: leaf[None], params), WINDOW), None)
        same(answers(harness.evaluate(alone, tasks, limit=LIMIT, samples=True)), theirs[-1])

    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *experts)
    routed = Served(tokenizer, Scorer(model, stack, WINDOW), routers.make("prefix", (1, 1), None), ("a", "b"))
    ours = answers(harness.evaluate(routed, tasks, limit=LIMIT, samples=True))
    counts = np.zeros(EXPERTS, int)
    for path in files:
        queries = [json.loads(line)["query"] for line in path.open()][:LIMIT]
        chosen = routed.choose(queries)
        counts += np.bincount(chosen, minlength=EXPERTS)
        expected = [theirs[k][path.stem][index] for index, k in enumerate(chosen)]
        same({path.stem: ours[path.stem]}, {path.stem: expected})
    assert (counts > 100).all(), "both experts were asked"


def same(ours: dict[str, list[np.ndarray]], theirs: dict[str, list[np.ndarray]]) -> None:
    assert ours.keys() == theirs.keys()
    for task, items in ours.items():
        assert len(items) == len(theirs[task]) <= LIMIT
        for index, (mine, other) in enumerate(zip(items, theirs[task], strict=True)):
            np.testing.assert_allclose(mine, other, atol=1e-3, err_msg=f"{task} item {index}")
            assert mine.argmax() == other.argmax(), f"{task} item {index}"
