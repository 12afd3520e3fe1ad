"""Text → tokens → the same text; one file from preparation to export."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.data.fast_tokenizer import train_bpe
from splitjax.data.tokenizer import END_OF_TEXT, Tokenizer

SAMPLE = ["the sea and the ship", "the court and the clause", "def f(x):\n    return x"] * 5
BPE = train_bpe(SAMPLE, 285)


@given(st.text() | st.sampled_from([END_OF_TEXT, f"a{END_OF_TEXT}b", " \n\t ", "é😀\x00"]))
def test_decoding_gives_the_text_back_and_no_text_makes_a_special_token(text: str) -> None:
    ids = BPE.encode(text)
    assert BPE.decode(ids) == text
    assert 0 not in ids
    assert BPE.encode_batch([text]) == [ids]
    assert BPE.token_bytes_V[ids].sum() == len(text.encode())


def test_end_of_text_is_token_0_and_has_no_bytes() -> None:
    assert BPE.decode([0]) == END_OF_TEXT
    assert BPE.token_bytes_V[0] == 0
    assert BPE.vocab_size == len(BPE.token_bytes_V) == 285


def test_training_depends_on_the_texts_and_not_on_order_or_process() -> None:
    code = f"from splitjax.data.fast_tokenizer import train_bpe; print(train_bpe({SAMPLE[::-1]!r}, 285).hash)"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert elsewhere == BPE.hash
    assert train_bpe(SAMPLE, 280).hash != BPE.hash


def test_a_saved_tokenizer_is_the_same(tmp_path: Path) -> None:
    BPE.save(tmp_path)
    assert Tokenizer.load(tmp_path).hash == BPE.hash
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(UserError, match=r"tokenizer.json: not a tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="no such file"):
        Tokenizer.load(tmp_path)
