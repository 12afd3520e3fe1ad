"""A Hugging Face folder as the seed: the same model in, the same model out; what it settles, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from splitjax import cli, config, stages
from splitjax.config import UserError, from_dict, load
from splitjax.data import Corpus
from splitjax.evaluate.folders import ModelFolder
from splitjax.model import LanguageModel, huggingface_config, to_huggingface
from splitjax.model.weights import Weights, write_weights
from splitjax.planning.main_plan import make_plan
from splitjax.runs.cells import Clock
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.seed import seed_of
from splitjax.train import checkpoint
from tests.tiny import tiny_tree
from tools.random_checkpoint import LLAMA3, ROWS, random_tensors, write_tokenizer

SHAPES = {
    "llama": config.Model(d_model=24, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, d_ff=64, qk_norm=False),
    "llama-tied": config.Model(d_model=24, n_layers=1, n_heads=2, qk_norm=False, tied_embeddings=True),
    "llama3": config.Model(d_model=24, n_layers=2, n_heads=4, d_ff=64, qk_norm=False, rope_scaling=LLAMA3),
    "qwen2": config.Model(d_model=24, n_layers=2, n_heads=4, n_kv_heads=2, qk_norm=False, attention_bias="qkv"),
    "qwen3": config.Model(d_model=24, n_layers=2, n_heads=2, head_dim=16, d_ff=40, rope_theta=1e6),
}


@pytest.fixture(scope="module")
def tokenizer_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


def make_folder(folder: Path, tokenizer_files: Path, kind: str = "llama", dtype: str = "float32") -> Path:
    shutil.copytree(tokenizer_files, folder)
    told = huggingface_config(SHAPES[kind], ROWS, 128) | {"bos_token_id": 1, "eos_token_id": 2, "torch_dtype": dtype}
    (folder / "config.json").write_text(json.dumps(told))
    write_weights(folder, random_tensors(SHAPES[kind], 3), dtype, 40_000)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_files: Path) -> Path:
    return make_folder(tmp_path_factory.mktemp("seed") / "hf", tokenizer_files)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", SHAPES)
def test_import_then_export_is_bit_identical(kind: str, dtype: str, tokenizer_files: Path, tmp_path: Path) -> None:
    source = ModelFolder(make_folder(tmp_path / "in", tokenizer_files, kind, dtype))
    assert len(source.weights.files) > 1
    assert source.tokenizer.end_id == 1, "the token that its makers put before a text"
    params = source.params()
    (tmp_path / "out").mkdir()
    back = to_huggingface(params)
    write_weights(tmp_path / "out", back.items(), dtype, 10**9)
    before, after = source.weights, Weights(tmp_path / "out")
    assert set(before) == set(after)
    for name in before:
        assert before[name].tobytes() == after[name].tobytes(), name


@pytest.mark.parametrize("kind", SHAPES)
def test_an_imported_model_gives_the_logits_of_transformers(kind: str, tokenizer_files: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    source = ModelFolder(make_folder(tmp_path / "in", tokenizer_files, kind))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(source.path, dtype="auto").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.path)
    text = "def read(path): return path.read_text()"
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    ours = np.array([[source.tokenizer.end_id, *source.tokenizer.encode(text)]], np.int32)
    np.testing.assert_array_equal(ours[0], ids)
    with torch.no_grad():
        wanted = theirs(torch.tensor([ids])).logits.numpy()
    model = LanguageModel(source.shape, source.vocab_size, end_id=source.tokenizer.end_id)
    np.testing.assert_allclose(jax.jit(model.logits)(source.params(), ours), wanted, atol=1e-4, rtol=0)


def seeded(corpus_file: Path, run: Path, folder: Path, **seed: Any) -> dict[str, Any]:
    tree = tiny_tree(corpus_file, run) | {"budget": {"tokens": "4k"}, "seed_from": {"path": str(folder)} | seed}
    del tree["model"], tree["data"]["tokenizer"], tree["sweep"]["models"]
    tree["train"] |= {"learning_rate": 1e-3}
    del tree["train"]["base_width"]
    tree["sweep"] |= {"d_pretrain": [0, "1k", "2k"]}
    return tree


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path, folder: Path) -> Path:
    """A whole run from the folder, with its law, whose split is set to 0: its seed is the folder's own weights."""
    run = tmp_path_factory.mktemp("continued") / "run"
    stages.run(from_dict(seeded(corpus_file, run, folder, tokens="100k") | {"split": 0.0}))
    return run


@pytest.mark.slow
def test_a_folder_becomes_seed_law_experts_and_export(continued: Path, folder: Path, tmp_path: Path) -> None:
    with open(continued / "observations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    step = 4 * 32
    assert {int(row["d_pretrain"]) for row in rows} == {100_000 + steps * step for steps in (0, 8, 16)}
    assert {row["n_params_total"] for row in rows} == {str(config_total(folder))}
    assert json.loads((continued / "law.json").read_text())
    assert cli.main(["export", str(continued), "--out", str(tmp_path / "seed"), "--model", "seed"]) == 0
    before, after = Weights(folder), Weights(tmp_path / "seed" / "seed")
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    assert cli.main(["export", str(continued), "--out", str(tmp_path / "experts"), "--dtype", "bfloat16"]) == 0
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "experts" / "sums" / name).read_bytes() == (folder / name).read_bytes()
    told = json.loads((tmp_path / "experts" / "sums" / "config.json").read_text())
    assert told == json.loads((folder / "config.json").read_text()) | {"torch_dtype": "bfloat16"}
    card = (tmp_path / "experts" / "sums" / "README.md").read_text()
    assert "imported from" in card
    assert "trained on 100,000 tokens" in card
    assert "document began with `<s>`" in card
    experts = Weights(tmp_path / "experts" / "sums")
    assert any((experts[name].astype(np.float32) != before[name]).mean() > 0.5 for name in before)


def config_total(folder: Path) -> int:
    return sum(tensor.size for tensor in Weights(folder).values())


@pytest.mark.slow
def test_the_trunk_starts_from_the_weights_with_no_moments_and_no_tokens(continued: Path, folder: Path) -> None:
    (path,) = continued.glob("phases/*.trunk/checkpoints/000000000000000")
    stack, meta = checkpoint.restore(path)
    wanted = ModelFolder(folder).params()
    jax.tree.map(lambda ours, theirs: np.testing.assert_array_equal(ours[0], theirs), stack.params, wanted)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((stack.mu, stack.nu, stack.tokens_K2, stack.steps_K)))
    assert meta["lineage"]["operation"] == "imported"
    assert meta["lineage"]["source"]["tokens"] == 100_000


def test_every_weight_of_a_folder_has_the_one_rate(folder: Path) -> None:
    cfg = load_train()
    model = LanguageModel.under(cfg, SHAPES["llama"], ROWS, transfer=False)
    groups = jax.tree.leaves(model.groups(ModelFolder(folder).params()), is_leaf=lambda node: hasattr(node, "rate"))
    assert {group.rate for group in groups} == {1.0}
    assert {group.decay for group in groups} == {True, False}


def load_train() -> config.Train:
    return config.Train(learning_rate=1e-3)


@pytest.mark.slow
def test_an_unknown_count_leaves_the_laws_d_at_our_own(corpus_file: Path, tmp_path: Path, continued: Path) -> None:
    told, unknown = load(continued / "config.yaml"), (continued / "law.json")
    clock = Clock.of(told, 3)
    tree = told.resolved() | {"split": None}
    seeds = [tree["seed_from"] | {"tokens": tokens} for tokens in (100_000, None)]
    plans = [make_plan(from_dict(tree | {"seed_from": seed}), clock, {}, unknown) for seed in seeds]
    assert plans[0]["predicted_loss"] != plans[1]["predicted_loss"]
    for plan in plans:
        assert plan["d_pretrain"] + 3 * plan["d_special"] <= plan["tokens"]


def test_the_folder_settles_model_sizes_and_tokenizer(corpus_file: Path, folder: Path, tmp_path: Path) -> None:
    found = from_dict(seeded(corpus_file, tmp_path / "run", folder))
    assert found.model == SHAPES["llama"]
    assert found.sweep is not None
    assert found.sweep.models == (SHAPES["llama"],)
    assert found.data.tokenizer.path == str(folder / "tokenizer.json")
    assert found.data.tokenizer.end_token == "<s>", "the token that its makers put before a text"
    tree = seeded(corpus_file, tmp_path / "run", folder)
    tree["data"]["tokenizer"] = {"end_token": "</s>"}
    assert from_dict(tree).data.tokenizer.end_token == "</s>"
    assert from_dict(found.resolved()).resolved() == found.resolved()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"d_model": 32}}, "model: is not what .*config.json says"),
        ({"seed_from": {"path": "nowhere"}}, "nowhere: no such folder"),
        ({"seed_from": {"path": "nowhere", "tokns": 3}}, "nowhere: no such folder"),
        ({"train": {"seq_len": 32}}, "train.learning_rate: a seed from a folder needs one"),
        ({"sweep": {"models": [{"d_model": 32}], "d_pretrain": [0, "1k"], "d_special": [1]}}, "one size"),
    ],
)
def test_what_contradicts_the_folder_is_refused(
    changes: dict[str, Any], said: str, corpus_file: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        from_dict(seeded(corpus_file, tmp_path / "run", folder) | changes)


def test_an_unknown_key_of_the_seed_is_named(corpus_file: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown key 'seed_from.tokns'"):
        from_dict(seeded(corpus_file, tmp_path / "run", folder, tokns=3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "beta": 1}}, "rope_scaling.beta"),
        ({"attention_bias": True}, "'model.layers.0.self_attn.q_proj.bias' is missing"),
        ({"model_type": "qwen2"}, "'model.layers.0.self_attn.q_proj.bias' is missing"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_size": None}, "'hidden_size' is missing"),
        ({"num_attention_heads": 5}, "describes no model"),
        ({"vocab_size": 100}, "the model 100"),
        ({"intermediate_size": 40}, r"has shape .*, not"),
    ],
)
def test_a_folder_that_cannot_be_run_is_refused_by_name(
    change: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "hf")
    told = json.loads((folder / "config.json").read_text()) | change
    if "num_attention_heads" in change:
        del told["head_dim"]
    (tmp_path / "hf" / "config.json").write_text(json.dumps(told))

    def read() -> None:
        source = ModelFolder(tmp_path / "hf")
        assert source.tokenizer.vocab_size == 2000
        source.params()

    with pytest.raises(UserError, match=said):
        read()


def test_weights_that_changed_since_the_run_began_are_refused(
    corpus_file: Path, folder: Path, tmp_path: Path, tokenizer_files: Path
) -> None:
    own = shutil.copytree(folder, tmp_path / "hf")
    settings = from_dict(seeded(corpus_file, tmp_path / "run", own) | {"split": 0.5, "sweep": None})
    stages.prepare(settings)
    with stages.commands.job_of(settings) as job:
        assert job.vocab_size == ROWS > job.corpus.vocab_size
    changed = sorted(own.glob("*.safetensors"))[0]
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=f"{changed.name}: has changed or is gone"):
        stages.train(settings)
    assert not list((tmp_path / "run").glob("phases/*/checkpoints/*/checkpoint.json"))


@pytest.mark.slow
def test_the_corpus_of_a_seeded_run_has_the_folders_tokenizer(continued: Path, folder: Path) -> None:
    assert Corpus.open(continued / "data").tokenizer.data == ModelFolder(folder).tokenizer.data


def settings_of(path: Path, run_dir: Path) -> config.Config:
    tree = {"data": {"sources": [{"type": "phonebook"}]}, "budget": {"tokens": 1000}, "split": 0.5}
    return from_dict(tree | {"run_dir": str(run_dir), "seed_from": {"path": str(path), "tokens": "1k"},
                             "train": {"learning_rate": 1e-4}})


def test_the_copy_in_a_run_is_of_the_folder_that_the_config_names(
    folder: Path, tokenizer_files: Path, tmp_path: Path
) -> None:
    other = make_folder(tmp_path / "other", tokenizer_files, "qwen3")
    run = RunFolder(tmp_path / "run")
    first = seed_of(settings_of(folder, run.path), run)
    assert seed_of(settings_of(folder, run.path), run).hash == first.hash
    second = seed_of(settings_of(other, run.path), run)
    assert second.told["path"] == str(other), "a config that was mended before anything was made"
    assert second.hash != first.hash
    assert json.loads((run.seed_from / "config.json").read_text())["model_type"] == "qwen3"


def test_a_file_of_the_copy_that_changed_is_refused_and_taken_anew_by_redo(folder: Path, tmp_path: Path) -> None:
    run, wanted = RunFolder(tmp_path / "run"), settings_of(folder, tmp_path / "run")
    run.claim(wanted)
    seed_of(wanted, run)
    run.mark_done("prepare", {}, [])
    (run.seed_from / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"seed_from/tokenizer\.json: has changed or is gone since the run took it"):
        seed_of(wanted, run)
    run.claim(wanted, redo="fit")
    assert run.seed_from.exists()
    run.claim(wanted, redo="sweep")
    assert not run.seed_from.exists()
    assert (seed_of(wanted, run).folder / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
