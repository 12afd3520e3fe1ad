"""lanes.json: which phases of a sweep are trained side by side, chosen once from the sweep and the platform.

Never from what is left: a sweep that was killed goes on with the groups that it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import Model, Train, read_record, write_record

from ..phase_tree import Phase

FORMAT = 1
PARAMETERS = 1 << 26
"""Of all lanes of a group at most: a gibibyte with moments and gradients."""
LANES = 48
"""Of a group at most: each has activations of its own where all are one program."""
Key = tuple[str, int]
"""A phase's name and where it ends."""


class _Record(TypedDict):
    groups: list[list[Key]]


def may_be_lanes(recipe: Train) -> bool:
    """Whether no phase of a recipe has a pace of its own, so that several may be one stack on one device."""
    return recipe.placement == "stacked" and recipe.experts.every is None and recipe.keep_every is None


def lane_groups(
    path: Path, phases: Sequence[Phase], lanes: Callable[[Phase], int], size: Callable[[Model], int], *,
    write: bool = True,
) -> list[list[Phase]]:
    """The phases of a tree in groups, parents before children.

    Phases of one shape and one depth in the tree wait for nothing but what lies above them: branches off one trunk,
    trunks of several seeds. What a sweep that has grown adds is grouped anew; groups that were stored stay.

    Args:
        path: lanes.json, read and written.
        phases: parents before children.
        lanes: models that a phase trains.
        size: parameters of one, with its embedding.
        write: False: only tell what they would be.

    Raises:
        UserError: the file is damaged.
    """
    known = {_key(phase): phase for phase in phases}
    stored = _read(path)
    groups = [group for keys in stored if (group := [known[key] for key in keys if key in known])]
    covered = {_key(phase) for group in groups for phase in group}
    depth = _depths(phases)
    new = _choose([phase for phase in phases if _key(phase) not in covered], depth, lanes, size)
    if new and write:
        kept = [[_key(phase) for phase in group] for group in [*groups, *new]]
        write_record(path, {"format": FORMAT, "groups": kept})
    order = {phase.name: at for at, phase in enumerate(phases)}
    return sorted([*groups, *new], key=lambda group: (depth[group[0].name], order[group[0].name]))


def _choose(
    phases: Iterable[Phase], depth: dict[str, int], lanes: Callable[[Phase], int], size: Callable[[Model], int]
) -> list[list[Phase]]:
    alike: dict[tuple[Model, int], list[list[Phase]]] = {}
    for phase in phases:
        groups = alike.setdefault((phase.model, depth[phase.name]), [[]])
        count = sum(map(lanes, [*groups[-1], phase]))
        if groups[-1] and (count > LANES or count * size(phase.model) > PARAMETERS):
            groups.append([])
        groups[-1].append(phase)
    return [group for groups in alike.values() for group in groups]


def _depths(phases: Iterable[Phase]) -> dict[str, int]:
    found: dict[str, int] = {}
    for phase in phases:  # a parent outside this tree is done
        found[phase.name] = found.get(phase.parent or "", -1) + 1
    return found


def _key(phase: Phase) -> Key:
    return phase.name, phase.stop


def _read(path: Path) -> list[list[Key]]:
    if not path.exists():
        return []
    told = read_record(path, "the groups of a sweep", {"format": FORMAT}, "Remove it to group anew.", _Record)
    return [[(name, stop) for name, stop in group] for group in told["groups"]]
