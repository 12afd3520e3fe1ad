"""Tokenizer files in the shapes that others publish: ids, text and bytes are theirs, whatever ends their documents."""

from __future__ import annotations

import functools
import gzip
import io
import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.data import Corpus, Tokenizer, prepare
from splitjax.data.manifest import Manifest
from splitjax.data.tokenizing.fast_tokenizer import FastTokenizer, adopt
from splitjax.data.tokenizing.sentencepiece_tokenizer import SentencePieceTokenizer
from splitjax.data.tokenizing.tokenizer_files import transformers_files

from .conftest import rows_of, settings, write_jsonl

SAMPLE = ["the sea and the ship", "the court and  the clause", "def f(x):\n    return x  # ## 12 Wow!"] * 5
SPLIT = r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(sample: list[str], special: list[str], *, inside: bool, regex: bool = False, **model: Any) -> Any:
    """Byte-level BPE; its special tokens stand in the vocabulary (GPT-2) or beyond it (Llama-3, Qwen2.5)."""
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Fast

    fast = Fast(models.BPE(**model))
    split = [pre_tokenizers.Split(Regex(SPLIT), "isolated")] if regex else []
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not regex)
    fast.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    fast.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    fast.train_from_iterator(sample, trainers.BpeTrainer(
        vocab_size=700, special_tokens=special if inside else [], initial_alphabet=alphabet, show_progress=False,
    ))
    fast.add_special_tokens(special)
    return fast


def gpt2(sample: list[str]) -> Any:
    return byte_level(sample, ["<|endoftext|>"], inside=True)


def llama3(sample: list[str]) -> Any:
    from tokenizers import processors

    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    fast = byte_level(sample, special, inside=False, regex=True, ignore_merges=True)
    begin = fast.token_to_id(special[0])
    fast.post_processor = processors.TemplateProcessing(f"{special[0]} $A", special_tokens=[(special[0], begin)])
    return fast


def qwen(sample: list[str]) -> Any:
    from tokenizers import AddedToken, normalizers

    fast = byte_level(sample, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], inside=False, regex=True)
    fast.normalizer = normalizers.NFC()
    fast.add_tokens([AddedToken("<tool_call>", normalized=False, special=False)])
    return fast


def metaspace(sample: list[str], special: list[str], more: list[str], *, before: bool) -> Any:
    """BPE over ▁ with bytes for what it does not know, as converters of SentencePiece models write it."""
    from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Fast

    learnt = Fast(models.BPE())
    learnt.normalizer = normalizers.Replace(" ", "▁")
    learnt.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    learnt.train_from_iterator(sample, trainers.BpeTrainer(vocab_size=500, show_progress=False))
    tree = json.loads(learnt.to_str())["model"]
    pieces = [*special, *more, *BYTES, *(piece for piece in tree["vocab"] if piece not in more)]
    fast = Fast(models.BPE(
        vocab={piece: index for index, piece in enumerate(pieces)}, merges=[tuple(pair) for pair in tree["merges"]],
        byte_fallback=True, fuse_unk=True, unk_token="<unk>",
    ))
    replace = normalizers.Replace(" ", "▁")
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if before else replace
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    fast.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if before else steps)
    fast.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    fast.add_tokens([AddedToken(token, normalized=False, special=False) for token in more])
    return fast


def llama2(sample: list[str]) -> Any:
    from tokenizers import processors

    fast = metaspace(sample, ["<unk>", "<s>", "</s>"], [], before=True)
    fast.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return fast


def gemma(sample: list[str]) -> Any:
    return metaspace(sample, ["<pad>", "<eos>", "<bos>", "<unk>"], ["\n\n", "▁▁▁▁"], before=False)


def unigram(sample: list[str]) -> Any:
    """A SentencePiece unigram model as T5's converter writes it."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    fast = Fast(models.Unigram())
    fast.normalizer = normalizers.Replace("\n", " ")  # its pieces are words: no line ends
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    letters = sorted({letter for text in sample for letter in text.replace(" ", "▁")})
    special = ["<pad>", "</s>", "<unk>"]
    fast.train_from_iterator(sample, trainers.UnigramTrainer(
        vocab_size=900, special_tokens=special, initial_alphabet=letters, unk_token="<unk>", show_progress=False,
    ))
    return fast


# What ends documents, and the spaces that the tokenizer itself puts before a text.
SHAPES: dict[str, tuple[Callable[[list[str]], Any], str, bool]] = {
    "gpt2": (gpt2, "<|endoftext|>", False),
    "llama2": (llama2, "</s>", True),
    "llama3": (llama3, "<|end_of_text|>", False),
    "qwen2.5": (qwen, "<|endoftext|>", False),
    "gemma": (gemma, "<eos>", False),
    "unigram": (unigram, "</s>", True),
}


@functools.cache
def theirs(kind: str) -> Any:
    return SHAPES[kind][0](SAMPLE)


def ours(kind: str, folder: Path) -> FastTokenizer:
    theirs(kind).save(str(folder / f"{kind}.json"))
    return adopt(folder / f"{kind}.json", None)


def window(tokenizer: Tokenizer, text: str) -> np.ndarray:
    return np.array([tokenizer.end_id, *tokenizer.encode(text)])


TEXTS = ["Wow!", "the sea and  the ship", "def f(x):\n    return x\n\n", "## 12 é😀", "x <tool_call> y", " a", "\n"]


@pytest.mark.parametrize("kind", SHAPES)
def test_ids_text_and_bytes_are_theirs(kind: str, tmp_path: Path) -> None:
    tokenizer, fast = ours(kind, tmp_path), theirs(kind)
    assert tokenizer.end_token == SHAPES[kind][1]
    assert tokenizer.end_id == fast.token_to_id(SHAPES[kind][1])
    assert tokenizer.vocab_size == max(fast.get_vocab().values()) + 1
    assert tokenizer.puts_space == SHAPES[kind][2]
    assert tokenizer.token_bytes_V[tokenizer.end_id] == 0
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids == fast.encode(text, add_special_tokens=False).ids, text
        assert tokenizer.end_id not in ids
        if kind != "unigram":  # which knows no other letters than those of its sample
            assert tokenizer.decode(ids) == text
            assert tokenizer.target_bytes(window(tokenizer, text)).sum() == len(text.encode()), text
    two = np.concatenate([window(tokenizer, "the sea"), window(tokenizer, "the ship")])
    assert tokenizer.target_bytes(two).min() == 0
    assert tokenizer.target_bytes(two).sum() == len("the sea" + "the ship")
    assert tokenizer.target_bytes(np.stack([two, two])).sum() == 2 * len("the sea" + "the ship")


def test_a_text_that_spells_the_end_is_the_characters_it_has(tmp_path: Path) -> None:
    for kind, (_, end, _) in SHAPES.items():
        tokenizer = ours(kind, tmp_path)
        assert tokenizer.end_id not in tokenizer.encode(f"a{end}b"), kind
        if kind not in ("llama2", "unigram"):
            assert tokenizer.decode(tokenizer.encode(f"a{end}b")) == f"a{end}b"


@pytest.mark.parametrize("kind", SHAPES)
def test_auto_tokenizer_gives_our_ids(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = ours(kind, tmp_path)
    for name, text in transformers_files(tokenizer, 4096).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert {auto.bos_token_id, auto.eos_token_id, auto.pad_token_id} == {tokenizer.end_id}
    for text in TEXTS:
        assert auto(text).input_ids == [tokenizer.end_id, *tokenizer.encode(text)], text
    padded = auto(["Wow!", "the sea and the ship"], padding=True)
    assert padded.input_ids[0][0] == tokenizer.end_id
    assert padded.input_ids[0][-1] == tokenizer.encode("Wow!")[-1], "padded on the left"
    assert padded.attention_mask[0][0] == 0


def test_bytes_a_token_are_the_same_in_every_process(tmp_path: Path) -> None:
    ours("qwen2.5", tmp_path)
    code = ("from splitjax.data.tokenizing.fast_tokenizer import adopt; "
            f"print(adopt({str(tmp_path / 'qwen2.5.json')!r}, None).token_bytes_V.tobytes().hex())")
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
             for _ in range(3)}
    assert found == {adopt(tmp_path / "qwen2.5.json", None).token_bytes_V.tobytes().hex() + "\n"}


def holed(folder: Path, where: str, index: int) -> Path:
    """257 tokens, and one more far away: a piece of the vocabulary, or an added token that the library would move."""
    tree = json.loads(byte_level([], ["<|endoftext|>"], inside=False).to_str())
    if where == "vocabulary":
        tree["model"]["vocab"]["ĠĠ"] = index
        tree["model"]["merges"].append(["Ġ", "Ġ"])
    else:
        tree["added_tokens"].append(tree["added_tokens"][0] | {"id": index, "content": "<|far|>", "special": False})
    path = folder / f"{where}.json"
    path.write_text(json.dumps(tree))
    return path


@pytest.mark.parametrize(("where", "text"), [("vocabulary", "a   b"), ("added", "a<|far|>b")])
def test_the_vocabulary_is_the_highest_id_and_one(where: str, text: str, tmp_path: Path) -> None:
    tokenizer = adopt(holed(tmp_path, where, 1000), None)
    assert (tokenizer.vocab_size, tokenizer.end_id) == (1001, 256)
    assert tokenizer.encode(text)[1] == 1000
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.target_bytes(window(tokenizer, text)).sum() == len(text)
    assert tokenizer.token_bytes_V[500] == 0


@pytest.mark.parametrize("index", [1 << 31, (1 << 32) - 1])
def test_an_id_beyond_int32_is_refused_by_prepare(index: int, tiny_jsonl: Path, tmp_path: Path) -> None:
    path = holed(tmp_path, "vocabulary", index)
    with pytest.raises(UserError, match=f"{path.name}: holds id {index}, more than an int32 can"):
        prepare(settings(tiny_jsonl, tokenizer={"type": "huggingface", "path": str(path)}), tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


def test_an_added_token_that_takes_anothers_id_is_refused(tmp_path: Path) -> None:
    path = holed(tmp_path, "added", 7)
    with pytest.raises(UserError, match=r"gives '<\|far\|>' id 7, the tokenizers library reads 257"):
        adopt(path, None)


@pytest.mark.parametrize("kind", ["llama3", "llama2", "holes"])
def test_a_corpus_knows_what_ends_its_documents(kind: str, tmp_path: Path) -> None:
    path = holed(tmp_path, "vocabulary", 70_000) if kind == "holes" else tmp_path / f"{kind}.json"
    tokenizer = adopt(path, None) if kind == "holes" else ours(kind, tmp_path)
    rows = rows_of(40)
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    chosen = {"type": "huggingface", "path": str(path)}
    manifest = prepare(settings(source, tokenizer=chosen), tmp_path / "out", seed=0)
    corpus = Corpus.open(tmp_path / "out")
    assert manifest.end_id == corpus.end_id == corpus.tokenizer.end_id == tokenizer.end_id > 0
    assert corpus.vocab_size == tokenizer.vocab_size
    for domain in corpus.domains:
        told = {row["text"] for row in rows if row["domain"] == domain}
        shown = [text for split in ("train", "validation", "test") for text in corpus.show(domain, 100, split)]
        assert sorted(shown) == sorted(told)
        batch = corpus.domain(domain, 40, 64, 0).batch(0)
        assert (batch == corpus.end_id).any()
    assert Manifest.load(tmp_path / "out").version == 3


def test_a_manifest_of_version_2_is_read_and_ends_with_0(tiny_jsonl: Path, tmp_path: Path) -> None:
    from splitjax.config import hash_json, read_json, write_record

    prepare(settings(tiny_jsonl), tmp_path / "out", seed=0)
    told = read_json(tmp_path / "out" / "manifest.json")
    for key in ("hash", "end_id"):
        del told[key]
    write_record(tmp_path / "out" / "manifest.json", told | {"version": 2})
    corpus = Corpus.open(tmp_path / "out")
    assert (corpus.manifest.version, corpus.end_id) == (2, 0)
    seen = [2, corpus.domains, told["tokenizer"]["hash"], None, told["window_order"],
            [list(shard.values()) for shard in told["shards"]]]
    assert corpus.manifest.hash == hash_json(seen), "what its checkpoints name"


def llama2_model() -> bytes:
    """A SentencePiece model as Llama-2 has it: a space before the text, bytes for the rest, no pad."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SAMPLE), model_writer=model, model_type="bpe", vocab_size=330, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, minloglevel=2,
    )
    return model.getvalue()


def test_a_sentencepiece_model_counts_the_bytes_of_the_text() -> None:
    tokenizer = SentencePieceTokenizer(llama2_model())
    assert (tokenizer.end_id, tokenizer.end_token, tokenizer.puts_space) == (2, "</s>", True)
    for text in ["the sea and  the ship", "## é😀", " a", "def f(x):\n    return x"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.target_bytes(window(tokenizer, text)).sum() == len(text.encode())


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHAPES)
def test_the_eight_domains_come_back_with_auto_tokenizers_ids(kind: str, shared: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    documents = {}
    for path in sorted((shared / "corpus").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            documents[path.name] = [json.loads(next(file))["text"] for _ in range(80)]
    assert len(documents) == 8
    SHAPES[kind][0]([text for texts in documents.values() for text in texts[:20]]).save(str(tmp_path / "own.json"))
    tokenizer = adopt(tmp_path / "own.json", None)
    for name, text in transformers_files(tokenizer, 1 << 20).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for name, texts in documents.items():
        found = tokenizer.encode_batch(texts)
        assert auto(texts).input_ids == [[tokenizer.end_id, *ids] for ids in found]
        for text, ids in zip(texts, found, strict=True):
            if kind == "unigram":
                break  # it knows no other letters than those of its sample, and no line ends
            if "▁" in text and kind in ("llama2", "gemma"):
                continue  # where that character is written as it is, these files cannot tell it from a space
            kept = unicodedata.normalize("NFC", text) if kind == "qwen2.5" else text
            assert tokenizer.decode(ids) == kept, name
            assert tokenizer.target_bytes(np.array([tokenizer.end_id, *ids])).sum() == len(kept.encode()), name
