"""Mutants: one mistake each, made in a file by cosmic-ray's operators and ours, without running anything."""

from __future__ import annotations

import ast
import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider

from .operators import OURS

# Of cosmic-ray's operators those that a person might write by mistake. The rest turn + into << or remove decorators:
# such programs mostly end at once, and would make any suite look good.
_BINARY = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "FloorDiv_Div", "Mod_FloorDiv", "BitAnd_BitOr",
           "BitOr_BitAnd")
_COMPARED = ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_Gt", "Gt_Lt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")
_UNARY = ("USub_UAdd", "Delete_Not", "Delete_Invert")
_THEIRS = (
    *(f"ReplaceBinaryOperator_{name}" for name in _BINARY), *(f"ReplaceUnaryOperator_{name}" for name in _UNARY),
    *(f"ReplaceComparisonOperator_{name}" for name in _COMPARED), "AddNot", "NumberReplacer", "ZeroIterationForLoop",
    "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak",
)


@cache
def operators() -> dict[str, Operator]:
    """Name → operator."""
    known = OperatorProvider()
    return {name: known[name]() for name in _THEIRS} | {name: each() for name, each in OURS.items()}


@dataclass(frozen=True, order=True)
class Mutant:
    """One mistake.

    Attributes:
        path: of the file, from the root.
        line: where.
        operator: what kind of mistake.
        occurrence: the how manieth place in the file that the operator may change.
    """

    path: str
    line: int
    operator: str
    occurrence: int

    def source(self, root: Path) -> str | None:
        """The file with the mistake in it; None where it is no other program, or none at all."""
        before = (root / self.path).read_text(encoding="utf-8")
        after = mutate_code(before, operators()[self.operator], self.occurrence)
        try:
            return None if after is None or ast.dump(ast.parse(after)) == ast.dump(ast.parse(before)) else after
        except SyntaxError:
            return None


def changed(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, stripped: as they were, and as they are."""
    told = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[:2] in ("- ", "+ ")]
    old, new = (" ".join(line[2:].strip() for line in told if line[0] == sign) for sign in "-+")
    return old, new


def mutants(root: Path, path: str) -> list[Mutant]:
    """All of a file."""
    found, tree = [], get_ast((root / path).read_text(encoding="utf-8"))
    nodes = list(ast_nodes(tree))
    for name, operator in operators().items():
        occurrence = 0
        for node in nodes:
            for (line, _), _ in operator.mutation_positions(node):
                if _counts(node):
                    found.append(Mutant(path, line, name, occurrence))
                occurrence += 1
    return sorted(found)


def sample(root: Path, paths: Sequence[str], count: int | None, seed: int) -> tuple[list[tuple[Mutant, str]], int]:
    """So many mutants of these files, each with its source, and of how many they were drawn.

    Args:
        count: None: all.
        seed: of the draw.
    """
    every = [mutant for path in sorted(paths) for mutant in mutants(root, path)]
    random.Random(seed).shuffle(every)
    drawn: list[tuple[Mutant, str]] = []
    for mutant in every:
        if len(drawn) == count:
            break
        if (source := mutant.source(root)) is not None:
            drawn.append((mutant, source))
    return sorted(drawn), len(every)


def _counts(node: Any) -> bool:
    """Whether what a node says is carried out: annotations, assertions and imports for them are not."""
    if node.type == "operator" and node.parent.type in ("parameters", "lambdef"):
        return False  # the star before keywords, which cosmic-ray takes for a product
    inner, above = None, node
    while above is not None:
        if above.type in ("assert_stmt", "decorator") or (inner and _annotates(above, inner)):
            return False
        if above.type == "if_stmt" and above.children[1].get_code().strip() == "TYPE_CHECKING":
            return False
        inner, above = above, above.parent
    return True


def _annotates(above: Any, inner: Any) -> bool:
    """Whether a node is the type in `name: type` or in `-> type`."""
    if above.type in ("tfpdef", "annassign"):
        return above.children.index(inner) == {"tfpdef": 2, "annassign": 1}[above.type]
    before = inner.get_previous_sibling() if above.type == "funcdef" else None
    return before is not None and before.get_code().strip() == "->"
