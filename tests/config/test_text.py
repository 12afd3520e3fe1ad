"""YAML 1.2 scalars, safe and without surprises."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.config.yaml_text import Document, to_yaml

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | text
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=15
)
surprises = [
    "no", "1:30", "010", "2026-01-01", "4e-3", "0x10", "1e5", "~", "null", "1_000", ".5", "<<", "=", "-", "1.", "+.inf",
    "", "\x85", "\u2028", " a\n", "\ufeff",
]


def parse(source: str) -> Any:
    return Document(source, "x.yaml").value


@given(trees)
@example(dict.fromkeys(surprises, surprises))
def test_what_is_written_reads_back(tree: Any) -> None:
    back = parse(to_yaml(tree))
    assert back == tree
    assert repr(back) == repr(tree)  # True is not 1, and 1 is not 1.0


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("no", "no"), ("on", "on"), ("1:30", "1:30"), ("010", "010"), ("0x10", "0x10"), ("2026-01-01", "2026-01-01"),
        ("4e-3", 0.004), ("1E6", 1e6), (".5", 0.5), ("-1.", -1.0), ("1_000", 1000), ("-7", -7), ("true", True),
        ("FALSE", False), ("~", None), ("", None), ("20x", "20x"), ("40M", "40M"), ("'4e-3'", "4e-3"),
        (".inf", math.inf), ("1e", "1e"), ("_1", "_1"), ("<<", "<<"), ("!!str 1", "1"),
        (r'"\ud83d\ude00"', "\U0001f600"), ("!!float 1", 1.0),
    ],
)
def test_plain_scalars(source: str, value: Any) -> None:
    assert parse(source) == value
    assert type(parse(source)) is type(value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"x\.yaml:3: .*key 'a' given twice"),
        ("a: 1\n1: 2", r"x\.yaml:2: .*a key is not text"),
        ("a:\n  [1", r"x\.yaml:2: not valid YAML"),
        ("a: &x [*x]\n", "recursive"),
        ("!!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("!!binary aGk=", "could not determine a constructor"),
        ("a: !!map x", "expected a mapping"),
        ("!!int x", "not valid YAML"),
        (r'"\ud83d"', "not valid YAML"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: \x00", "not valid YAML"),
        ("[" * 5000, "nested too deeply"),
        ("9" * 5000, "not valid YAML"),
    ],
)
def test_what_is_refused_names_its_place(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(source)


def test_lines_of_keys() -> None:
    document = Document("a: 1\nb:\n  - x: 1\n  - y: 2\n    z: 3\n", "x.yaml")
    assert document.line(("a",)) == 1
    assert document.line(("b",)) == 2
    assert document.line(("b", 1, "z")) == 5
    assert document.line(("b", 1)) == 4
    assert document.line(("b", 1, "missing")) is None
    assert document.line(("missing",)) is None


def test_shared_aliases_stay_cheap() -> None:
    """Ten lists of ten of the one before: ten objects, not ten billion."""
    source = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    assert len(parse(source)) == 10
