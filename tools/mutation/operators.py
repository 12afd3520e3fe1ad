"""Mistakes that no operator of cosmic-ray makes: arguments swapped or left out, a factor dropped, another function."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from cosmic_ray.operators.operator import Operator
from parso.tree import NodeOrLeaf

Place = tuple[tuple[int, int], tuple[int, int]]

_OTHERS = {"min": "max", "any": "all", "argmin": "argmax", "ceil": "floor", "mean": "sum", "minimum": "maximum"}
OTHERS = _OTHERS | {other: name for name, other in _OTHERS.items()}
_EVEN = {"min", "max", "minimum", "maximum", "hypot", "logaddexp"}
"""Functions that do not care which of their arguments comes first."""
_SUMS = ("arith_expr", "term", "expr", "and_expr", "and_test", "or_test")
"""Nodes whose children are operands and what joins them, by turns."""


class _Choice(Operator):
    """An operator that may change a node in several ways."""

    @abstractmethod
    def ways(self, node: Any) -> Iterator[list[Any]]:
        """New children of the node, for each of them."""

    def mutation_positions(self, node: Any) -> list[Place]:
        """A list: cosmic-ray changes the node while it goes through them."""
        return [(node.start_pos, node.end_pos) for _ in self.ways(node)]

    def mutate(self, node: Any, index: int) -> NodeOrLeaf:
        node.children = list(self.ways(node))[index]
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class SwapArguments(_Choice):
    """f(a, b) → f(b, a), of neighbours that are given by their places."""

    def ways(self, node: Any) -> Iterator[list[Any]]:
        if node.type != "arglist" or (before := node.parent.get_previous_sibling()) is None:
            return
        if before.get_last_leaf().value in _EVEN:
            return
        for i in range(0, len(node.children) - 2, 2):
            one, comma, other = node.children[i : i + 3]
            if "argument" not in (one.type, other.type) and one.get_code().strip() != other.get_code().strip():
                yield [*node.children[:i], other, comma, one, *node.children[i + 3 :]]


class DropKeyword(_Choice):
    """f(a, b=1) → f(a)."""

    def ways(self, node: Any) -> Iterator[list[Any]]:
        if node.type == "arglist":
            for i, child in enumerate(node.children):
                if _by_name(child):
                    yield [*node.children[: max(i - 1, 0)], *node.children[i + (1 if i else 2) :]]
        elif node.type == "trailer" and len(node.children) == 3 and _by_name(node.children[1]):
            yield [node.children[0], node.children[2]]


class DropOperand(_Choice):
    """a * b → a, and → b; the same of sums, of masks, and of `and` and `or`."""

    def ways(self, node: Any) -> Iterator[list[Any]]:
        if node.type not in _SUMS or len(node.children) < 3:
            return
        for i in range(2, len(node.children), 2):
            yield [*node.children[: i - 1], *node.children[i + 1 :]]
        if node.children[1].value not in ("-", "/", "//", "%"):  # what is left would be another figure's inverse
            yield node.children[2:]


class OtherFunction(Operator):
    """min(x) → max(x), and the like."""

    def mutation_positions(self, node: Any) -> Iterator[Place]:
        after = node.get_next_leaf() if node.type == "name" and node.value in OTHERS else None
        if after is not None and after.value == "(":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> NodeOrLeaf:
        node.value = OTHERS[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


def _by_name(node: Any) -> bool:
    return node.type == "argument" and node.children[1].type == "operator" and node.children[1].value == "="


OURS = {each.__name__: each for each in (SwapArguments, DropKeyword, DropOperand, OtherFunction)}
