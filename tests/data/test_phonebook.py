"""The phone books: disjoint, repeatable, and of numbers that only the book itself tells."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import Data, Source, UserError
from splitjax.data import Corpus, prepare, sources
from splitjax.data.sources import phonebook

EDITIONS = 8


def books(**keys: object) -> tuple[Source, dict[str, list[tuple[str, str]]]]:
    source = Source.model_validate({"type": "phonebook", **keys})
    return source, {part: phonebook.entries(source, part) for part in sources.parts(source)}


def settings(**keys: object) -> Data:
    data = {"tokenizer": {"type": "bytes"}, "near_duplicates": None, "validation": 0.1, "test": 0.1}
    return Data.model_validate({**data, "sources": [{"type": "phonebook", "books": 3, "entries": 30}], **keys})


@given(st.integers(1, 70), st.integers(1, 60))
def test_no_name_stands_in_two_books_and_none_twice(count: int, entries: int) -> None:
    _, found = books(books=count, entries=entries)
    assert [len(book) for book in found.values()] == [entries] * count
    names = [name for book in found.values() for name, _ in book]
    assert len(set(names)) == count * entries
    assert found == books(books=count, entries=entries)[1]


def test_books_share_their_lists_of_names_and_none_of_their_numbers() -> None:
    _, found = books(books=2, entries=400)
    firsts = [{name.split()[0] for name, _ in book} for book in found.values()]
    assert firsts[0] == firsts[1]
    assert len(firsts[0]) == 29  # √(2·400), up
    numbers = [{number for _, number in book} for book in found.values()]
    assert not numbers[0] & numbers[1]
    digits = Counter("".join(number for book in found.values() for _, number in book))
    assert sum(digits.values()) == 2 * 400 * phonebook.DIGITS
    assert all(abs(count / sum(digits.values()) - 0.1) < 0.02 for count in digits.values())


def test_every_entry_is_printed_in_each_edition_which_differ_after_the_number_alone() -> None:
    source, found = books(books=2, entries=5)
    for part, entries in found.items():
        documents = list(sources.read(source, part))
        assert {document.label for document in documents} == {part}
        assert Counter(document.text[:-1] for document in documents) == {
            f"{name}: {number}": EDITIONS for name, number in entries
        }
        assert len({document.text for document in documents}) == 5 * EDITIONS


def test_held_out_documents_ask_for_facts_that_training_tells(tmp_path: Path) -> None:
    prepare(settings(), tmp_path / "data", seed=0)
    corpus = Corpus.open(tmp_path / "data")
    for domain in corpus.domains:
        told = {text[:-1] for text in corpus.show(domain, 10_000)}
        held_out = corpus.show(domain, 10_000, "validation")
        assert len(told) == 30
        assert held_out
        assert {text[:-1] for text in held_out} <= told
        assert not set(held_out) & set(corpus.show(domain, 10_000))


def test_the_corpus_carries_its_questions_under_its_manifest(tmp_path: Path) -> None:
    prepare(settings(), tmp_path / "data", seed=0)
    path = Corpus.open(tmp_path / "data").questions
    assert path is not None
    asked = [json.loads(line) for line in path.read_text().splitlines()]
    _, found = books(books=3, entries=30)
    assert asked == [
        {"domain": part, "context": f"{name}:", "continuation": f" {number}"}
        for part, entries in found.items() for name, number in entries
    ]
    path.write_text(path.read_text().replace(asked[0]["continuation"], " 0000000"))
    with pytest.raises(UserError, match="questions"):
        Corpus.open(tmp_path / "data")


def test_clusters_are_not_what_a_question_names(tmp_path: Path) -> None:
    prepare(settings(domains={"method": "kmeans", "k": 2, "dims": 2}), tmp_path / "data", seed=0)
    assert Corpus.open(tmp_path / "data").questions is None
