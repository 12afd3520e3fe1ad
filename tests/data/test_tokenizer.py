"""Text → tokens → the same text, with every kind of tokenizer; one file from preparation to export."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import Tokenizer as Settings
from splitjax.config import UserError
from splitjax.data import Corpus, prepare
from splitjax.data.tokenizing import choice as choosing
from splitjax.data.tokenizing.fast_tokenizer import FastTokenizer, adopt, bytes_tokenizer, train_bpe
from splitjax.data.tokenizing.sentencepiece_tokenizer import SentencePieceTokenizer, train_unigram
from splitjax.data.tokenizing.tokenizer import END_OF_TEXT, Tokenizer

from .conftest import settings

SAMPLE = ["the sea and the ship", "the court and the clause", "def f(x):\n    return x"] * 5
TRAINED = {
    "bpe": functools.cache(lambda: train_bpe(SAMPLE, 285)),
    "bytes": functools.cache(bytes_tokenizer),
    "sentencepiece": functools.cache(lambda: train_unigram(SAMPLE, 300)),
}
AWKWARD = [END_OF_TEXT, f"a{END_OF_TEXT}b", " \n\t ", "é😀\x00", "a▁b ▁▁", "", "<unk></s>", "<0x0A>", "\r\n\u2028"]


@pytest.mark.parametrize("kind", TRAINED)
@given(text=st.text() | st.sampled_from(AWKWARD))
def test_decoding_gives_the_text_back_and_no_text_makes_id_0(kind: str, text: str) -> None:
    ours = TRAINED[kind]()
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert 0 not in ids
    assert ours.encode_batch([text, "plain"]) == [ids, ours.encode("plain")]
    assert ours.token_bytes_V[ids].sum() == len(text.encode())


@pytest.mark.parametrize("kind", TRAINED)
def test_a_saved_tokenizer_is_the_same(kind: str, tmp_path: Path) -> None:
    ours = TRAINED[kind]()
    ours.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.hash, loaded.vocab_size) == (ours.hash, ours.vocab_size)
    assert loaded.encode(SAMPLE[2]) == ours.encode(SAMPLE[2])
    assert ours.token_bytes_V[0] == 0
    assert len(ours.token_bytes_V) == ours.vocab_size
    path = tmp_path / ours.FILE
    path.write_text('{"model": 3}')
    with pytest.raises(UserError, match=f"{path.name}: not a tokenizer"):
        Tokenizer.load(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("function", ["fast_tokenizer.train_bpe", "sentencepiece_tokenizer.train_unigram"])
def test_training_again_elsewhere_gives_the_same_file(function: str) -> None:
    module, name = function.split(".")
    code = f"from splitjax.data.tokenizing.{module} import {name}; print({name}({SAMPLE!r}, 285).hash)"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    trainer = {"train_bpe": train_bpe, "train_unigram": train_unigram}[name]
    assert elsewhere[-1] == trainer(SAMPLE, 285).hash


def test_bpe_does_not_depend_on_the_order_of_its_sample() -> None:
    assert train_bpe(SAMPLE[::-1], 285).hash == TRAINED["bpe"]().hash
    assert TRAINED["bpe"]().vocab_size == 285


def foreign(folder: Path, kind: str) -> tuple[Path, int]:
    """A tokenizer.json as others make them: its end of text is not 0, and it adds tokens of its own."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    special = ["<unk>", "<s>", "</s>"]
    if kind == "bpe":
        fast = Fast(models.BPE())
        fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=special, show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    else:
        fast = Fast(models.Unigram())
        fast.pre_tokenizer, fast.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    fast.train_from_iterator(SAMPLE, trainer)
    end = fast.token_to_id("</s>")
    fast.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", end)])
    fast.enable_truncation(3)
    fast.save(str(folder / "foreign.json"))
    return folder / "foreign.json", end


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_an_adopted_tokenizer_keeps_every_id(kind: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Fast

    path, end = foreign(tmp_path, kind)
    theirs, ours = Fast.from_file(str(path)), adopt(path, None)
    theirs.no_truncation()
    assert end != 0
    for text in SAMPLE[:3]:
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert ours.text_ids(np.array(ids), "here").tolist() == ours.encode(text) == ids
        assert ours.decode(ours.encode(text)) == theirs.decode(ids)
    assert (ours.end_id, ours.end_token, ours.decode([end])) == (end, "</s>", "</s>")
    assert ours.vocab_size == theirs.get_vocab_size()
    assert end not in ours.encode("</s> and so on")
    with pytest.raises(UserError, match=f"here: id {end} is not one of the tokenizer's"):
        ours.text_ids(np.array([3, end]), "here")
    # The file that travels is a whole tokenizer.json for others too.
    ours.save(tmp_path)
    assert Fast.from_file(str(tmp_path / "tokenizer.json")).token_to_id("</s>") == end


def test_the_end_token_of_an_adopted_tokenizer_can_be_named(tmp_path: Path) -> None:
    path, _ = foreign(tmp_path, "bpe")
    assert (adopt(path, "<s>").end_id, adopt(path, "<s>").end_token) == (1, "<s>")
    with pytest.raises(UserError, match=r"foreign.json: has no special token '<ss>'.*Did you mean '<s>'"):
        adopt(path, "<ss>")
    path.write_text('{"added_tokens": []}')
    with pytest.raises(UserError, match="no special token"):
        adopt(path, None)


def test_a_sentencepiece_model_whose_unknown_is_0_ends_documents_with_its_end(tmp_path: Path) -> None:
    import io

    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(sentence_iterator=iter(SAMPLE), model_writer=model, vocab_size=26, minloglevel=2)
    theirs, ours = SentencePieceProcessor(model_proto=model.getvalue()), SentencePieceTokenizer(model.getvalue())
    assert theirs.unk_id() == 0
    for text in ("the sea", "§ unknown §"):
        ids = theirs.encode(text)
        assert ours.text_ids(np.array(ids), "here").tolist() == ours.encode(text) == ids
        assert ours.decode(ours.encode(text)) == theirs.decode(ids)
    assert (ours.end_id, ours.end_token) == (theirs.eos_id(), "</s>")
    with pytest.raises(UserError, match="id 0 cannot end documents"):
        SentencePieceTokenizer(model.getvalue(), 0)


@pytest.mark.parametrize("kind", ["bytes", "huggingface", "sentencepiece", "sentencepiece-given"])
def test_each_kind_goes_through_preparation(kind: str, tiny_jsonl: Path, tmp_path: Path) -> None:
    choice: dict[str, object] = {"type": kind.removesuffix("-given"), "vocab_size": 320}
    if kind == "huggingface":
        choice["path"] = str(foreign(tmp_path, "bpe")[0])
    if kind == "sentencepiece-given":
        (tmp_path / "own.model").write_bytes(train_unigram(SAMPLE, 300).data)
        choice["path"] = str(tmp_path / "own.model")
    manifest = prepare(settings(tiny_jsonl, tokenizer=choice), tmp_path / "out", seed=0)
    corpus = Corpus.open(tmp_path / "out")
    assert manifest.tokenizer["hash"] == corpus.tokenizer.hash
    expected = choosing.given(Settings.model_validate(choice))
    assert expected is None or expected.hash == corpus.tokenizer.hash
    lines = [json.loads(line)["text"] for line in tiny_jsonl.read_text().splitlines()]
    assert set(corpus.show("sea", 10)) <= set(lines)


def test_special_tokens_are_written_out_when_ids_are_read() -> None:
    """Whoever looks at ids must see where a document ended."""
    from tokenizers import AddedToken, Tokenizer, models

    fast = Tokenizer(models.WordLevel({"<unk>": 0, "word": 1}, "<unk>"))
    fast.add_special_tokens([AddedToken("<|end|>", special=True)])
    found = FastTokenizer(fast.to_str().encode(), 2)
    assert found.decode([1, 2, 1]) == "word <|end|> word"
    assert (found.end_id, found.end_token, found.vocab_size) == (2, "<|end|>", 3)
