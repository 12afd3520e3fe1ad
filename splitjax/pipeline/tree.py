"""Cells (N, D, D') → the tree of phases that trains each of them, every shared stretch once.

A cell's path of P = D + D' steps is cut into legs: constant rate on the mixture, perhaps decay on
the mixture (where D' is shorter than the decay), constant rate on the domains, decay on the domains.
Legs with the same past, stream and schedule are one phase, trained as far as its longest cell needs
and saved wherever another cell leaves it. Positions are steps of B·S tokens since step 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from splitjax.config import Model, hash_json

On = Literal["mixture", "domains"]


@dataclass(frozen=True)
class Cell:
    """One model size trained for `pretrain` steps on the mixture, then `special` steps on each domain."""

    model: Model
    pretrain: int
    special: int

    def __post_init__(self) -> None:
        if self.pretrain < 0 or self.special < 0 or self.path == 0:
            raise ValueError(f"a cell needs at least one step, not D={self.pretrain}, D'={self.special}")

    @property
    def path(self) -> int:
        """P = D + D' in steps: what each final model has seen."""
        return self.pretrain + self.special

    @property
    def id(self) -> str:
        """Stable name from the content alone."""
        return f"{model_tag(self.model)}.D{self.pretrain}.S{self.special}"

    def steps(self, experts: int) -> int:
        """Steps over all models: D + K·D'."""
        return self.pretrain + experts * self.special


@dataclass(frozen=True)
class Phase:
    """A stretch of training: (stack, streams, tokens, schedule)."""

    name: str
    model: Model
    parent: str | None
    start: int
    stop: int
    on: On
    split_at: int | None
    """D of the stack's experts (None on the mixture): where their domain streams begin."""
    decay: tuple[int, int] | None
    """(from, to) of the linear decay, or None at constant rate."""
    save_at: tuple[int, ...]
    """Positions where a child starts or a cell ends, ascending."""
    ends: tuple[Cell, ...]
    """Cells that end at `stop`."""

    @property
    def splits(self) -> bool:
        """Whether the parent's stack of one becomes K experts at `start`."""
        return self.on == "domains" and self.start == self.split_at

    def stack_size(self, experts: int) -> int:
        return experts if self.on == "domains" else 1

    def steps(self, experts: int) -> int:
        """Steps over all models of the stack."""
        return (self.stop - self.start) * self.stack_size(experts)


@dataclass(frozen=True)
class _Leg:
    start: int
    stop: int
    on: On
    decay: tuple[int, int] | None


def model_tag(model: Model) -> str:
    """A readable, unique tag of a model's shape."""
    return f"d{model.d_model}l{model.n_layers}-{hash_json(model.model_dump(mode='json'))[:4]}"


def decay_start(path: int, decay_fraction: float) -> int:
    """First step of the decay: the last `decay_fraction` of the path, one step at least."""
    return path - min(path, max(1, round(decay_fraction * path)))


def grow(cells: Iterable[Cell], decay_fraction: float) -> list[Phase]:
    """The phases of these cells, parents before children, in an order that depends on the cells alone."""
    growing: dict[str, _Growing] = {}
    for cell in sorted(set(cells), key=lambda c: (model_tag(c.model), c.pretrain, c.special)):
        name = f"{model_tag(cell.model)}.trunk"
        node = growing.setdefault(name, _Growing(name, cell.model, None, 0, "mixture", None, None))
        for leg in _legs(cell, decay_fraction):
            node = _follow(growing, node, leg)
        node.ends.append(cell)
    return [node.freeze() for node in _parents_first(growing)]


def tokens_trained(phases: Iterable[Phase], experts: int, tokens_per_step: int) -> int:
    """Tokens that training these phases costs, over all models."""
    return sum(phase.steps(experts) for phase in phases) * tokens_per_step


def _legs(cell: Cell, decay_fraction: float) -> list[_Leg]:
    turn, path, split = decay_start(cell.path, decay_fraction), cell.path, cell.pretrain
    decay = (turn, path)
    legs = [
        _Leg(0, min(turn, split), "mixture", None),
        _Leg(turn, split, "mixture", decay),
        _Leg(split, turn, "domains", None),
        _Leg(max(turn, split), path, "domains", decay),
    ]
    return [leg for leg in legs if leg.stop > leg.start]


@dataclass
class _Growing:
    name: str
    model: Model
    parent: str | None
    start: int
    on: On
    split_at: int | None
    decay: tuple[int, int] | None

    def __post_init__(self) -> None:
        self.stop = self.start
        self.leaves: set[int] = set()
        self.ends: list[Cell] = []

    def freeze(self) -> Phase:
        return Phase(
            self.name, self.model, self.parent, self.start, self.stop, self.on, self.split_at, self.decay,
            tuple(sorted(self.leaves | {self.stop})), tuple(self.ends),
        )  # fmt: skip


def _follow(growing: dict[str, _Growing], node: _Growing, leg: _Leg) -> _Growing:
    """Walk one leg on from `node`: stay in it, or enter a child that has this stream and schedule."""
    if (leg.on, leg.decay) != (node.on, node.decay):
        node.leaves.add(leg.start)
        name = f"{node.name}.{_leg_name(leg)}"
        split_at = leg.start if leg.on == "domains" and node.on == "mixture" else node.split_at
        child = _Growing(name, node.model, node.name, leg.start, leg.on, split_at, leg.decay)
        node = growing.setdefault(name, child)
    node.stop = max(node.stop, leg.stop)
    return node


def _leg_name(leg: _Leg) -> str:
    decay = f"-decay{leg.decay[1]}" if leg.decay else ""
    return f"{'experts' if leg.on == 'domains' else 'mix'}{leg.start}{decay}"


def _parents_first(growing: dict[str, _Growing]) -> list[_Growing]:
    ordered: list[_Growing] = []

    def visit(node: _Growing) -> None:
        ordered.append(node)
        for child in growing.values():
            if child.parent == node.name:
                visit(child)

    for node in list(growing.values()):
        if node.parent is None:
            visit(node)
    return ordered
