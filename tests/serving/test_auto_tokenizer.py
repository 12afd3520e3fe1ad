"""The tokenizer of an exported folder gives the ids that the model was trained on, under transformers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from splitjax.config import UserError, from_dict
from splitjax.data.tokenizing.fast_tokenizer import bytes_tokenizer, train_bpe
from splitjax.data.tokenizing.sentencepiece_tokenizer import read_exported, train_unigram
from splitjax.data.tokenizing.tokenizer_files import transformers_files
from splitjax.model import huggingface_config
from tests.tiny import tiny_tree


def auto_tokenizer(folder: Path, tokenizer: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    for name, text in transformers_files(tokenizer, 4096).items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    described = huggingface_config(from_dict(tiny_tree(Path("x"), folder)).model, tokenizer.vocab_size, 4096)
    (folder / "config.json").write_text(json.dumps(described))
    return transformers.AutoTokenizer.from_pretrained(folder)


AWKWARD = ["<|endoftext|>", "a<|endoftext|>b", " \n\t ", "é😀\x00", "a▁b", "", "\r\n\u2028", "  two  spaces "]


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_auto_tokenizer_gives_our_ids(kind: str, tmp_path: Path) -> None:
    sample = ["the sea and the ship", "def f(x):\n    return x"] * 5
    ours = train_bpe(sample, 285) if kind == "bpe" else bytes_tokenizer()
    theirs = auto_tokenizer(tmp_path, ours)
    assert len(theirs) == ours.vocab_size
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (0, 0, 0)
    for text in ["the sea", *AWKWARD]:
        assert theirs(text).input_ids == [0, *ours.encode(text)]
        assert theirs.decode(theirs(text).input_ids, skip_special_tokens=True) == text


def test_a_sentencepiece_model_is_kept_as_it_is(tmp_path: Path) -> None:
    ours = train_unigram(["the sea and the ship", "def f(x):\n    return x  # é"] * 5, 300)
    theirs = auto_tokenizer(tmp_path, ours)
    assert (tmp_path / "spiece.model").read_bytes() == ours.data
    assert len(theirs) == ours.vocab_size
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id, theirs.padding_side) == (0, 0, 0, "left")
    for text in ["the sea", *(text for text in AWKWARD if "▁" not in text)]:
        assert theirs(text).input_ids == ours.encode(text), "without what begins a document: see puts_end_first"
    assert theirs.decode(ours.encode("the sea"), skip_special_tokens=True) == "the sea"


def test_an_exported_sentencepiece_model_is_read_with_the_token_that_ended_documents(tmp_path: Path) -> None:
    ours = train_unigram(["the sea and the ship"] * 5, 300)
    (tmp_path / "spiece.model").write_bytes(ours.data)
    for end in (None, "<|endoftext|>"):
        found = read_exported(tmp_path, end)
        assert (found.data, found.end_id) == (ours.data, 0)
    with pytest.raises(UserError, match="has no token '<eos>' to end documents"):
        read_exported(tmp_path, "<eos>")


@pytest.mark.slow
def test_auto_tokenizer_gives_our_ids_on_every_corpus(shared: Path, tmp_path: Path) -> None:
    documents = {}
    for path in sorted((shared / "corpus").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            documents[path.name] = [json.loads(line)["text"] for line in file][:1000]
    ours = train_bpe([text for texts in documents.values() for text in texts[:60]], 4096)
    theirs = auto_tokenizer(tmp_path, ours)
    assert len(documents) == 8
    for texts in documents.values():
        found = theirs(texts).input_ids
        assert found == [[0, *ids] for ids in ours.encode_batch(texts)]
        assert theirs.batch_decode(found, skip_special_tokens=True) == texts
