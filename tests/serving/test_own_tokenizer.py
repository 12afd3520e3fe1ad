"""A run whose tokenizer ends documents with another id than 0 and has holes: trained, scored, exported, generated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from splitjax import cli, stages
from splitjax.config import UserError, from_dict, load
from splitjax.config.hf_shape import eos_ids
from splitjax.data import Corpus
from splitjax.evaluate.generate import Generator, Sampling
from splitjax.model import LanguageModel
from splitjax.runs.model_places import places
from splitjax.serving import loaded_models, task_scores
from splitjax.serving.export_record import Exported
from splitjax.train import checkpoint, read_metrics
from tests.tiny import tiny_tree

SHAPE = {"d_model": 24, "n_layers": 2, "n_heads": 2, "head_dim": 16, "qk_norm": True}


def write_tokenizer(path: Path) -> Path:
    """256 bytes, an end token outside the vocabulary, and a piece far behind it."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = Fast(models.BPE({piece: index for index, piece in enumerate(alphabet)}, []))
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast.add_special_tokens(["<|endoftext|>"])
    tree = json.loads(fast.to_str())
    tree["model"]["vocab"]["re"], tree["model"]["merges"] = 1000, [["r", "e"]]
    path.write_text(json.dumps(tree))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("own")
    tree = tiny_tree(corpus_file, folder / "run") | {"split": 0.5, "sweep": None, "budget": {"tokens": "4k"}}
    tree["data"] |= {"tokenizer": {"type": "huggingface", "path": str(write_tokenizer(folder / "own.json"))}}
    stages.run(from_dict(tree | {"model": SHAPE}))
    return folder / "run"


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    assert cli.main(["export", str(run), "--out", str(run.parent / "out")]) == 0
    return run.parent / "out"


def test_it_trains_on_the_ids_of_the_file(run: Path) -> None:
    corpus = Corpus.open(run / "data")
    assert (corpus.end_id, corpus.vocab_size) == (256, 1001)
    rows = [row for path in run.glob("phases/*/metrics.jsonl") for row in read_metrics(path)]
    assert rows
    assert all(np.isfinite(row["loss"]).all() and not any(row["skipped"]) for row in rows)


def test_the_export_is_the_model_under_transformers(run: Path, exported: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    told = json.loads((exported / "export.json").read_text())
    assert (told["end_token"], told["end_id"]) == ("<|endoftext|>", 256)
    config = load(run / "config.yaml")
    with stages.commands.job_of(config) as job:
        corpus = job.corpus
        stack, _ = checkpoint.restore(places(job)["planned"].checkpoint(job))
    model = LanguageModel.under(config.train, config.model, corpus.vocab_size, end_id=corpus.end_id)
    folder = Exported.read(exported).folders[0]
    assert "`<|endoftext|>`" in (folder / "README.md").read_text()
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    assert (auto.bos_token_id, auto.eos_token_id, auto.pad_token_id, auto.padding_side) == (256, 256, 256, "left")
    texts = [text[:20] for text in corpus.show(0, 3, "test")]
    ids = [[256, *corpus.tokenizer.encode(text)] for text in texts]
    assert auto(texts).input_ids == ids
    assert any(1000 in each for each in ids)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    assert theirs.generation_config.eos_token_id == theirs.config.eos_token_id == 256
    params = jax.tree.map(lambda leaf: leaf[0], stack.params)
    for each in ids:
        with torch.no_grad():
            wanted = theirs(torch.tensor([each])).logits.numpy()
        np.testing.assert_allclose(jax.jit(model.logits)(params, np.array([each])), wanted, atol=1e-4, rtol=0)
    # Texts of unlike length in one batch go on as each does alone.
    batch = auto(["red", "red green blue 12"], return_tensors="pt", padding=True)
    with torch.no_grad():
        two = theirs.generate(**batch, max_new_tokens=5, do_sample=False)
        one = theirs.generate(**auto(["red"], return_tensors="pt"), max_new_tokens=5, do_sample=False)
    assert two[0, -5:].tolist() == one[0, -5:].tolist()


def test_bits_a_byte_are_of_the_text_and_the_export_scores_alike(
    run: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(exported), "--data", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    results = json.loads((run / "results.json").read_text())["models"]
    assert found["tokenizer"] == "same"
    own, planned = found["models"]["own expert"], results["planned"]
    np.testing.assert_allclose(own["bits_per_byte"], planned["bits_per_byte"], rtol=1e-5)
    corpus = Corpus.open(run / "data")
    windows = corpus.held_out("test", 0, 8, 32)
    for window in windows:
        text = corpus.tokenizer.decode([index for index in window[1:] if index != 256])
        assert corpus.tokenizer.target_bytes(window).sum() == len(text.encode())


def says(folder: Path, *args: object, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["generate", str(folder), "red 12", "--max-tokens", "12", *map(str, args)]) == 0
    return capsys.readouterr().out.removesuffix("\n")


def test_generate_stops_where_it_is_told(run: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = says(run, capsys=capsys)
    assert text == says(exported, capsys=capsys)
    assert len(text) > 6
    cut = text[3:5]
    assert says(run, "--stop", cut, capsys=capsys) == text[: text.index(cut)]
    assert says(run, "--stop", "no such text", "--stop", text[2:4], capsys=capsys) == text[: text.index(text[2:4])]
    assert cli.main(["generate", str(run), "red", "--stop", ""]) == 2
    assert "--stop: an empty text stands everywhere" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("listed", [True, False])
def test_generate_stops_at_every_id_that_a_config_names(
    where: str, listed: bool, exported: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(Exported.read(exported).folders[0], tmp_path / "one")
    models = loaded_models.of_folder(folder)
    prompt = [256, *models.tokenizer.encode("red 12")]
    plain = list(Generator(models.model, models.params(0), models.window).tokens(prompt, 8, Sampling(), 0))
    told = json.loads((folder / where).read_text())
    told["eos_token_id"] = [256, plain[2]] if listed else plain[2]
    (folder / where).write_text(json.dumps(told))
    models = loaded_models.of_folder(folder)
    assert plain[2] in models.stops
    assert task_scores.served(models).writer(0).stops == models.stops, "as lm-eval's tasks are answered"
    writer = Generator(models.model, models.params(0), models.window, models.stops)
    assert list(writer.tokens(prompt, 8, Sampling(), 0)) == plain[: plain.index(plain[2])]


@pytest.mark.parametrize("value", ["2", True, [1, "2"], {"id": 3}])
def test_an_end_that_is_no_id_is_refused_by_file(value: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": None}))
    assert eos_ids(tmp_path) == []
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    with pytest.raises(UserError, match=r"generation_config.json: eos_token_id is .*, neither an id nor a list"):
        eos_ids(tmp_path)
