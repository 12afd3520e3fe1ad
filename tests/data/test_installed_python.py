"""The installation as a corpus: real, distinct, deterministic, capped."""

import subprocess
import sys

import pytest

from splitjax.config import Source, UserError
from splitjax.data import sources
from splitjax.data.sources import installed_python
from splitjax.data.sources.installed_python import MAX_CHARS, MIN_CHARS, cut

SOURCE = Source(type="installed_python", max_chars=100_000)
CODE = """
from splitjax.config import Source, hash_json
from splitjax.data import sources
source = Source(type="installed_python", max_chars=100_000)
print(hash_json([[doc.text for doc in sources.read(source, part)] for part in sources.parts(source)]))
"""


def test_at_least_four_domains_of_the_size_asked_for() -> None:
    parts = sources.parts(SOURCE)
    assert len(parts) >= 4
    for part in parts:
        documents = list(sources.read(SOURCE, part))
        assert all(document.label == part for document in documents)
        assert all(MIN_CHARS <= len(document.text) <= MAX_CHARS for document in documents)
        assert 90_000 < sum(len(document.text) for document in documents) < 100_000 + 60 * MAX_CHARS


def test_two_processes_read_the_same() -> None:
    runs = [subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout


def test_it_is_not_about_splitjax_itself() -> None:
    from splitjax.data.sources.installed_python import _walk

    assert not [name for name, _ in _walk() if "splitjax" in name]


def test_a_kind_with_too_few_files_is_no_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    files = dict.fromkeys(installed_python.KINDS, ("a",) * 100) | {"headers": ("a",) * 3}
    monkeypatch.setattr(installed_python, "_files", files.get)
    assert sources.parts(SOURCE) == ["docstrings", "library_code", "readmes", "test_code"]
    monkeypatch.setattr(installed_python, "_files", lambda kind: ())
    with pytest.raises(UserError, match="no readable library files"):
        sources.parts(SOURCE)


def test_max_chars_and_label_are_used() -> None:
    half = Source(type="installed_python", max_chars=50_000, label="python")
    documents = list(sources.read(half, "library_code"))
    assert sum(len(d.text) for d in documents) < sum(len(d.text) for d in sources.read(SOURCE, "library_code"))
    assert {d.label for d in documents} == {"python"}


def test_long_text_is_cut_where_it_pauses_and_nothing_is_lost() -> None:
    text = "\n\n".join(f"paragraph {index} " + "word " * 100 for index in range(100))
    pieces = list(cut(text))
    assert all(len(piece) <= MAX_CHARS for piece in pieces)
    assert all(piece.startswith("paragraph") for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert list(cut("x" * (2 * MAX_CHARS + 300))) == ["x" * MAX_CHARS] * 2 + ["x" * 300]
    assert list(cut("short")) == []
