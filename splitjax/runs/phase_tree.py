"""Cells (N, D, D') → the tree of phases that trains each of them, every shared stretch once.

A cell's path of P = D + D' steps is cut into legs: constant rate on the mixture, perhaps decay on
the mixture (where D' is shorter than the decay), constant rate on the domains, decay on the domains.
Legs with the same past, stream and schedule are one phase, trained as far as its longest cell needs
and saved wherever another cell leaves it. Positions are steps of B·S tokens since step 0.

Where the decay is the whole path (cosine), there is no constant leg: paths share a trunk only if they
are equally long. Where there is none (constant), the trunk serves every cell up to its split.

Seeds of one size that have the same cells may share a tree: each of its phases is then one stack over the seeds. Which
seeds do is a function of the cells alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from splitjax.config import Model, hash_json

On = Literal["mixture", "domains"]
Seeds = tuple[int | None, ...]


@dataclass(frozen=True)
class Cell:
    """One model size trained for `pretrain` steps on the mixture, then `special` steps on each domain."""

    model: Model
    pretrain: int
    special: int
    seed: int | None = None
    """Of initialisation and data order; None: the run's own."""

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
        return f"{self.trunk}.D{self.pretrain}.S{self.special}"

    @property
    def trunk(self) -> str:
        """Name of the constant trunk that it shares with the other cells of its size and seed."""
        return trunk_tag(self.model, (self.seed,))

    def steps(self, experts: int) -> int:
        """Steps over all models: D + K·D'."""
        return self.pretrain + experts * self.special


@dataclass(frozen=True)
class Phase:
    """A stretch of training: (stack, streams, tokens, schedule)."""

    name: str
    model: Model
    seeds: Seeds
    """Of the stack: one, or several that are trained side by side."""
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
    """Cells that end at `stop`, one a seed."""

    @property
    def splits(self) -> bool:
        """Whether the parent's stack of one becomes K experts at `start`."""
        return self.on == "domains" and self.start == self.split_at

    def stack_size(self, experts: int) -> int:
        return len(self.seeds) * (experts if self.on == "domains" else 1)

    def steps(self, experts: int) -> int:
        """Steps over all models of the stack."""
        return (self.stop - self.start) * self.stack_size(experts)


@dataclass(frozen=True)
class _Leg:
    start: int
    stop: int
    on: On
    decay: tuple[int, int] | None


_FIRST_KEYS = {
    "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "qk_norm", "tied_embeddings", "rope_theta",
    "norm_eps",
}


def model_tag(model: Model) -> str:
    """A readable, unique tag of a model's shape; a key that is younger than the tags counts where it is not default."""
    own, default = model.model_dump(mode="json"), Model().model_dump(mode="json")
    content = {key: value for key, value in own.items() if key in _FIRST_KEYS or value != default.get(key)}
    return f"d{model.d_model}l{model.n_layers}-{hash_json(content)[:4]}"


def trunk_tag(model: Model, seeds: Seeds) -> str:
    """The tag of a model's shape and of its seeds, where they are not the run's own."""
    own = ["own" if seed is None else str(seed) for seed in seeds]
    return model_tag(model) + ("" if seeds == (None,) else f"-s{'+'.join(own)}")


def decay_start(path: int, decay_share: float) -> int:
    """First step of the decay: the last `decay_share` of the path, one step at least unless it is 0."""
    return path - min(path, max(1, round(decay_share * path))) if decay_share else path


def grow(
    cells: Iterable[Cell], decay_share: float, together: bool = False, foreseen: Iterable[Cell] = ()
) -> list[Phase]:
    """The phases of these cells, parents before children, in an order that depends on the cells alone.

    Args:
        decay_share: share of every path that decays (`Train.decay_share`).
        together: train seeds that have the same cells as one stack.
        foreseen: cells that may be added later: what they would branch from is saved where they leave it.
    """
    cells = set(cells)
    seeds_of = _groups(cells) if together else {cell.trunk: (cell.seed,) for cell in cells}
    growing: dict[str, _Growing] = {}
    for cell in sorted(cells, key=lambda c: (model_tag(c.model), c.pretrain, c.special, c.trunk)):
        seeds = seeds_of[cell.trunk]
        name = f"{trunk_tag(cell.model, seeds)}.trunk"
        node = growing.setdefault(name, _Growing(name, cell.model, seeds, None, 0, "mixture", None, None))
        for leg in _legs(cell, decay_share):
            node = _follow(growing, node, leg)
        node.ends.append(cell)
    for cell in foreseen:
        _foresee(growing, cell, decay_share)
    return [node.freeze() for node in _parents_first(growing)]


def _foresee(growing: dict[str, _Growing], cell: Cell, decay_share: float) -> None:
    """Save the phases that are there where this cell would leave them."""
    node = growing.get(f"{cell.trunk}.trunk")
    for leg in _legs(cell, decay_share):
        if node is None:
            return
        if (leg.on, leg.decay) != (node.on, node.decay):
            if leg.start <= node.stop:
                node.leaves.add(leg.start)
            node = growing.get(f"{node.name}.{_leg_name(leg)}")


def _groups(cells: set[Cell]) -> dict[str, Seeds]:
    """Trunk of a cell → seeds of its stack: those of the same size that have the same (D, D')."""
    paths: dict[tuple[Model, int | None], set[tuple[int, int]]] = {}
    for cell in cells:
        paths.setdefault((cell.model, cell.seed), set()).add((cell.pretrain, cell.special))
    alike: dict[tuple[Model, frozenset[tuple[int, int]]], list[int | None]] = {}
    for model, seed in sorted(paths, key=lambda key: (key[1] is not None, key[1] or 0)):
        alike.setdefault((model, frozenset(paths[model, seed])), []).append(seed)
    return {trunk_tag(model, (seed,)): tuple(seeds) for (model, _), seeds in alike.items() for seed in seeds}


def lost_with(phase: Phase, phases: Iterable[Phase]) -> list[str]:
    """Ids of the cells that cannot be had without `phase`: its own and those that branch from it."""
    gone, cells = {phase.name}, [cell.id for cell in phase.ends]
    for other in phases:  # parents come first
        if other.parent in gone:
            gone.add(other.name)
            cells += [cell.id for cell in other.ends]
    return cells


def part_of(phases: Sequence[Phase], part: int, parts: int, work: Callable[[Phase], float]) -> list[Phase]:
    """The phases of part `part` (from 1) of `parts`: whole trees, dealt out so that the parts cost about the same.

    A pure function of the phases: no two parts share a phase, all together have each.
    """
    trees: dict[str, list[Phase]] = {}
    for phase in phases:
        trees.setdefault(phase.name.split(".")[0], []).append(phase)
    cost = {tag: sum(map(work, tree)) for tag, tree in trees.items()}
    dealt: list[list[str]] = [[] for _ in range(parts)]
    for tag in sorted(trees, key=lambda tag: (-cost[tag], tag)):
        min(dealt, key=lambda tags: sum(cost[tag] for tag in tags)).append(tag)
    return [phase for phase in phases if phase.name.split(".")[0] in dealt[part - 1]]


def tokens_trained(phases: Iterable[Phase], experts: int, tokens_per_step: int) -> int:
    """Tokens that training these phases costs, over all models."""
    return sum(phase.steps(experts) for phase in phases) * tokens_per_step


def _legs(cell: Cell, decay_share: float) -> list[_Leg]:
    turn, path, split = decay_start(cell.path, decay_share), cell.path, cell.pretrain
    decay = (turn, path)
    legs = [
        _Leg(0, min(turn, split), "mixture", None),
        _Leg(turn, split, "mixture", decay),
        _Leg(split, turn, "domains", None),
        _Leg(max(turn, split), path, "domains", decay),
    ]
    legs = [leg for leg in legs if leg.stop > leg.start]
    if not decay_share:
        # No decay ends this path, and its trunk may go on: a phase of no steps keeps its end.
        legs.append(_Leg(path, path, legs[-1].on, decay))
    return legs


@dataclass
class _Growing:
    name: str
    model: Model
    seeds: Seeds
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
            self.name, self.model, self.seeds, self.parent, self.start, self.stop, self.on, self.split_at, self.decay,
            tuple(sorted(self.leaves | {self.stop})), tuple(self.ends),
        )


def _follow(growing: dict[str, _Growing], node: _Growing, leg: _Leg) -> _Growing:
    """Walk one leg on from `node`: stay in it, or enter a child that has this stream and schedule."""
    if (leg.on, leg.decay) != (node.on, node.decay):
        node.leaves.add(leg.start)
        name = f"{node.name}.{_leg_name(leg)}"
        split_at = leg.start if leg.on == "domains" and node.on == "mixture" else node.split_at
        child = _Growing(name, node.model, node.seeds, node.name, leg.start, leg.on, split_at, leg.decay)
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
