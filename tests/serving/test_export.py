"""Exported folders hold the run's own models: the same logits, ids and bits under transformers; whole or not at all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
import yaml
from hypothesis import given
from hypothesis import strategies as st

from splitjax import cli, serving, stages
from splitjax.config import UserError, from_dict, load
from splitjax.data import Corpus
from splitjax.evaluate.generate import Generator, Sampling
from splitjax.model import LanguageModel
from splitjax.model.weights import Weights
from splitjax.runs.model_places import places
from splitjax.serving import answers, export_set, folder_scores, loaded_models
from splitjax.serving.export_record import Exported, folder_names
from splitjax.train import checkpoint
from tests.runs.test_seed import make_folder
from tests.tiny import tiny_tree
from tools.random_checkpoint import write_tokenizer

SHAPES = {
    "llama": {"d_model": 24, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "qk_norm": False, "tied_embeddings": True},
    "qwen3": {"d_model": 24, "n_layers": 2, "n_heads": 2, "head_dim": 16, "qk_norm": True},
}


def trained(folder: Path, corpus_file: Path, shape: str) -> Path:
    """A run with three experts; its config is run/config.yaml."""
    tree = tiny_tree(corpus_file, folder) | {"split": 0.5, "sweep": None, "budget": {"tokens": "4k"}}
    stages.run(from_dict(tree | {"model": SHAPES[shape]}))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path) -> Path:
    return trained(tmp_path_factory.mktemp("qwen3") / "run", corpus_file, "qwen3")


@pytest.fixture(scope="module")
def llama_run(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path) -> Path:
    return trained(tmp_path_factory.mktemp("llama") / "run", corpus_file, "llama")


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    assert cli.main(["export", str(run), "--out", str(run.parent / "out")]) == 0
    return run.parent / "out"


@pytest.mark.parametrize(
    ("fixture", "kind"),
    [("run", "Qwen3ForCausalLM"), pytest.param("llama_run", "LlamaForCausalLM", marks=pytest.mark.slow)],
)
def test_logits_are_those_of_transformers(
    fixture: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = load(request.getfixturevalue(fixture) / "config.yaml")
    serving.export(config, tmp_path / "out")
    with stages.commands.job_of(config) as job:
        corpus, model = job.corpus, LanguageModel.under(config.train, config.model, job.corpus.vocab_size)
        stack, _ = checkpoint.restore(places(job)["planned"].checkpoint(job))
    for k, folder in enumerate(Exported.read(tmp_path / "out").folders):
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
        assert type(theirs).__name__ == kind
        ids = [[0, *corpus.tokenizer.encode(text)][: config.train.seq_len] for text in corpus.show(k, 4, "test")]
        tokens_WS = np.array(ids, np.int32)
        ours = jax.jit(model.logits)(jax.tree.map(lambda leaf, k=k: leaf[k], stack.params), tokens_WS)
        with torch.no_grad():
            logits = theirs(torch.from_numpy(tokens_WS.astype(np.int64))).logits.numpy()
        np.testing.assert_allclose(ours, logits, atol=1e-4, rtol=0)


def greedy(theirs: Any, ids: list[int], count: int) -> list[tuple[int, float]]:
    """Tokens of transformers' own greedy search, each with how far the second choice was behind."""
    import torch

    told = theirs.generate(
        torch.tensor([ids]), max_new_tokens=count, do_sample=False, output_scores=True, return_dict_in_generate=True,
        eos_token_id=None, pad_token_id=0, attention_mask=torch.ones(1, len(ids), dtype=torch.long),
    )
    best = [torch.topk(scores[0], 2).values for scores in told.scores]
    gaps = [float(first - second) for first, second in best]
    return list(zip(told.sequences[0, len(ids) :].tolist(), gaps, strict=True))


@pytest.mark.parametrize("fixture", ["run", pytest.param("llama_run", marks=pytest.mark.slow)])
def test_greedy_text_is_that_of_transformers(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    serving.export(load(request.getfixturevalue(fixture) / "config.yaml"), tmp_path / "out")
    models, told = loaded_models.of_folder(tmp_path / "out"), Exported.read(tmp_path / "out")
    for k, folder in enumerate(told.folders):
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
        ids = [0, *models.tokenizer.encode("red 12 north")]
        writer = Generator(models.model, models.params(k), 128)  # the window is ours: theirs has no end
        ours = list(writer.tokens(ids, 64, Sampling(), 0))
        wanted = greedy(theirs, ids, 64)
        until = next((step for step, (_, gap) in enumerate(wanted) if gap < 1e-4), 64)
        until = min(until, next((step for step, (token, _) in enumerate(wanted) if token == 0), 64))
        assert until > 3, "enough steps to mean something"
        assert ours[:until] == [token for token, _ in wanted[:until]]


def test_the_example_of_the_card_answers_as_we_do(run: Path, exported: Path) -> None:
    pytest.importorskip("torch")
    code = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)[0]
    assert len(code.splitlines()) <= 20
    prompt = "red green blue not very"
    code = code.replace("Your text", prompt).replace("max_new_tokens=64", "max_new_tokens=12")
    done = subprocess.run([sys.executable, "-c", code], cwd=exported, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name, text = done.stdout.rstrip("\n").split("\n", 1)
    answer = answers.generate(load(run / "config.yaml"), prompt, max_tokens=12)
    assert name == answer.expert
    assert text == prompt + "".join(answer.pieces)


def make_random(folder: Path) -> None:
    files = folder.with_name("tokenizer")
    files.mkdir()
    write_tokenizer(files)
    make_folder(folder, files)


def generated(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[str, str]:
    assert cli.main(["generate", *map(str, args)]) == 0
    told = capsys.readouterr()
    return told.out, told.err


def test_a_run_and_its_export_answer_alike_and_say_who(
    run: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = generated(capsys, run, "red green blue", "--max-tokens", 9)
    assert one == generated(capsys, exported, "red green blue", "--max-tokens", 9)
    models = loaded_models.of_folder(exported)
    expert = models.names[models.chooser.choose("red green blue").expert]
    assert one[1].splitlines() == [f"{expert} (router {models.router.router.name}):"]  # type: ignore[union-attr]
    other = generated(capsys, run, "red green blue", "--max-tokens", 9, "--expert", "moves/<turns>")
    assert other[1].splitlines() == ["moves/<turns> (as asked):"]
    alone = generated(capsys, exported / "sums", "red green blue", "--max-tokens", 9)
    assert alone == (generated(capsys, run, "red green blue", "--max-tokens", 9, "--expert", "sums")[0],
                     "sums (the only model):\n")


def test_options_of_generate_are_obeyed(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def text(*args: object) -> str:
        return generated(capsys, exported, "red", "--max-tokens", 24, *args)[0]

    hot = ("--temperature", 5)
    assert text(*hot) == text(*hot, "--seed", 0) != text(*hot, "--seed", 1)
    assert text() == text(*hot, "--top-k", 1) == text(*hot, "--top-p", 1e-6) != text(*hot)
    told = json.loads(generated(capsys, exported, "red", "--max-tokens", 3, "--json")[0])
    assert told["text"] == generated(capsys, exported, "red", "--max-tokens", 3)[0].rstrip("\n")


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "(an empty prompt goes to the expert with the most text):"),
        ("red " * 90, "are too many for a window of 32: the last 16 are read"),
        (b"caf\xe9 \xff red".decode("utf-8", "surrogateescape"), "(router "),
        ("素数は無限に存在する", "(router "),
    ],
)
def test_any_prompt_gets_an_answer(prompt: str, said: str, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, error = generated(capsys, exported, prompt, "--max-tokens", 20)
    assert said in error
    out.encode("utf-8")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--expert", "sum"], "Did you mean 'sums'?"),
        (["--max-tokens", "0"], "--max-tokens"),
        (["--temperature", "-1"], "--temperature"),
    ],
)
def test_what_generate_cannot_do_is_one_line(
    args: list[str], said: str, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", str(exported), "red", *args]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_an_export_scores_as_its_run(run: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(exported), "--data", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    results = json.loads((run / "results.json").read_text())["models"]
    own, planned = found["models"]["own expert"], results["planned"]
    assert found["tokenizer"] == "same"
    np.testing.assert_allclose(own["bits_per_byte"], planned["bits_per_byte"], rtol=1e-5)
    np.testing.assert_allclose(own["test"]["domains"], planned["test"]["domains"], rtol=1e-5)
    routed = found["models"]["routed after the prefix"]["after_prefix"]
    np.testing.assert_allclose(routed["domains"], planned["after_prefix"]["routed"]["domains"], rtol=1e-5)
    assert found["run"] == {name: row["bits_per_byte"] for name, row in results.items()}


def test_another_tokenizer_is_scored_on_the_same_text(
    run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load(run / "config.yaml")
    usual = folder_scores.evaluate_folder(exported, config)["models"]["own expert"]["bits_per_byte"]
    monkeypatch.setattr(folder_scores, "_plain", lambda tokenizer: object())
    anew = folder_scores.evaluate_folder(exported, config)
    assert anew["tokenizer"] == "other"
    # The first token of a window is not read: a little dearer, on the same text.
    np.testing.assert_allclose(anew["models"]["own expert"]["bits_per_byte"], usual, rtol=0.08)
    monkeypatch.undo()
    make_random(tmp_path / "hf")
    assert cli.main(["evaluate", str(tmp_path / "hf"), "--data", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tokenizer"], found["experts"]) == ("other", ["hf"])
    bits = found["models"]["the model"]["bits_per_byte"]
    assert all(2 < each < 12 for each in bits), "random weights: near log2(2048) bits a token of one to four bytes"
    assert cli.main(["evaluate", str(tmp_path / "hf"), "--data", str(run)]) == 0
    assert "another tokenizer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["{set}"], "Give --data RUN."),
        (["{run}", "--data", "{run}"], "neither an exported set nor a Hugging Face model"),
        (["{set}", "train.batch_size=3", "--data", "{run}"], "no settings"),
        (["{set}", "--data", "{run}", "--redo", "evaluate"], "--redo is for"),
        (["{set}", "--data", "{set}"], "without config.yaml is not a run"),
    ],
)
def test_mistakes_in_scoring_a_folder_are_one_line(
    args: list[str], said: str, run: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", *(arg.format(set=exported, run=run) for arg in args)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_the_set_says_what_it_is(run: Path, exported: Path) -> None:
    told = Exported.read(exported)
    assert told.names == ("colours", "moves/<turns>", "sums")
    assert [folder.name for folder in told.folders] == ["colours", "moves_turns", "sums"]
    card = (exported / "moves_turns" / "README.md").read_text()
    results = json.loads((run / "results.json").read_text())["models"]["planned"]
    record = json.loads((exported / "export.json").read_text())["checkpoint"]
    manifest = Corpus.open(run / "data").manifest
    for fact in ("`moves/<turns>`", record, manifest.hash, f"{manifest.sizes[1]:,}", "split into 3 experts",
                 f"{results['test']['domains'][1]:.4f}", f"D' = {results['d_special']:,}"):
        assert fact in card, fact
    whole = (exported / "README.md").read_text()
    assert all(f"({folder.name}/README.md)" in whole for folder in told.folders)


def test_types_and_shards(run: Path, exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert cli.main(["export", str(run), "--out", str(out), "--dtype", "bfloat16", "--shard-size", "8k"]) == 0
    whole, parts = Weights(exported / "sums"), Weights(out / "sums")
    assert len(whole.files) == 1
    assert len(parts.files) > 2
    assert [path.name for path in parts.files] == sorted(path.name for path in (out / "sums").glob("*.safetensors"))
    for path in parts.files:
        held = safetensors.numpy.load_file(path).values()
        assert len(held) == 1 or sum(tensor.nbytes for tensor in held) <= 8000
    assert set(whole) == set(parts)
    for name, tensor in parts.items():
        assert tensor.dtype.name == "bfloat16"
        np.testing.assert_array_equal(tensor, whole[name].astype(tensor.dtype))
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out / "sums")
    assert str(theirs.dtype) == "torch.bfloat16"


@pytest.mark.parametrize(("model", "count"), [("dense", 1), ("seed", 1), ("80/20", 3)])
def test_any_model_of_the_run_can_be_exported(
    run: Path, tmp_path: Path, model: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(run), "--out", str(tmp_path / "set"), "--model", model, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], len(told["experts"])) == (model, count)
    assert told.items() <= json.loads((tmp_path / "set" / "export.json").read_text()).items()


def test_refusals_are_one_line_and_leave_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("mine")
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump(yaml.safe_load((run / "config.yaml").read_text()) | {"run_dir": str(tmp_path / "none")})
    )
    for args, said in [
        ([run, "--out", tmp_path / "full"], "exists and is not empty"),
        ([run, "--out", tmp_path / "new", "--model", "plan"], "Did you mean 'planned'?"),
        ([run, "--out", tmp_path / "new", "--shard-size", "much"], "--shard-size"),
        ([run, "train.batch_size=8", "--out", tmp_path / "new"], "train.batch_size (4 → 8)"),
        ([tmp_path / "c.yaml", "--out", tmp_path / "new"], "no such run"),
        ([run], "--out"),
    ]:
        assert cli.main(["export", *map(str, args)]) == 2
        error = capsys.readouterr().err
        assert said in error, error
        assert len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yaml", "full"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["kept"]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_set_appears_whole_or_not_at_all(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    write, written = export_set.write_weights, []

    def failing(folder: Path, *args: Any) -> None:
        written.append(folder)
        if len(written) == 2:
            raise fault
        write(folder, *args)

    monkeypatch.setattr(export_set, "write_weights", failing)
    with pytest.raises(UserError if isinstance(fault, OSError) else KeyboardInterrupt):
        serving.export(load(run / "config.yaml"), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_trained_is_refused(tmp_path: Path, corpus_file: Path) -> None:
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.5, "sweep": None}
    with pytest.raises(UserError, match="no such run"):
        serving.export(from_dict(tree), tmp_path / "set")
    stages.prepare(from_dict(tree))
    with pytest.raises(UserError, match="no plan"):
        serving.export(from_dict(tree), tmp_path / "set")
    with stages.commands.job_of(from_dict(tree)) as job:
        stages.sequence.run_plan(job)
    with pytest.raises(UserError, match="'planned' is not trained yet"):
        serving.export(from_dict(tree), tmp_path / "set")


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6, unique=True))
def test_experts_have_plain_folders_of_their_own(names: list[str]) -> None:
    folders = folder_names(names)
    assert len({folder.lower() for folder in folders}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", folder) for folder in folders)
