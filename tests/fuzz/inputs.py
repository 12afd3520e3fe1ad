"""Inputs nobody should give: random bytes, valid files with bytes changed, valid trees with a part replaced."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from hypothesis import strategies as st

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(), st.text(max_size=20),
    st.sampled_from(["", "1e999", "-1", "nan", "inf", "~", "20x", "1k", "../..", "\x00", "\ud800", "!!python/x:o"]),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a tree can be changed."""
    found = [path] if path else []
    if isinstance(tree, dict):
        items = list(tree.items())
    else:
        items = list(enumerate(tree[:4])) if isinstance(tree, list) else []
    for key, value in items:
        found += places(value, (*path, key))
    return found


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """A valid tree with one to three parts replaced or removed."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        where = places(tree)
        if not where:
            return draw(trees)
        *parents, last = draw(st.sampled_from(where))
        node = tree
        for part in parents:
            node = node[part]
        if draw(st.booleans()):
            node[last] = draw(trees)
        else:
            del node[last]
    return tree


@st.composite
def spoiled(draw: st.DrawFn, text: bytes) -> bytes:
    """A valid file with bytes replaced, removed or put in."""
    data = bytearray(text)
    rng = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 4))):
        start = rng.randrange(len(data) + 1)
        data[start : start + rng.choice([0, 1, 1, 1, 5, 400])] = draw(st.binary(max_size=6))
    return bytes(data)


def as_json(tree: Any) -> bytes:
    """As a hostile writer would: NaN and half surrogates included."""
    return json.dumps(tree).encode()
