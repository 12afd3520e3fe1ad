"""changes.json: operational keys that changed while the run was stopped, and what that means for its numbers.

They say how a step is computed and not what: after an out-of-memory nothing is trained anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import OPERATIONAL, SAME_BITS, Train, read_record, write_record

FORMAT = 1
Changed = dict[str, tuple[Any, Any]]
"""Key of `train` → (before, now), as JSON."""


class _Change(TypedDict):
    made: str
    train: dict[str, tuple[Any, Any]]


class _Record(TypedDict):
    changes: list[_Change]


def without(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config without its operational keys."""
    return {**tree, "train": {key: value for key, value in train_of(tree).items() if key not in OPERATIONAL}}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Changed:
    """The operational keys in which two resolved configs differ; one that is older than a key has its default."""
    own = {key: Train.model_fields[key].default for key in OPERATIONAL}
    old, new = own | dict(train_of(before)), own | dict(train_of(now))
    return {key: (old[key], new[key]) for key in OPERATIONAL if old[key] != new[key]}


def train_of(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section `train` of a resolved config; empty where an edited one has none."""
    found = tree.get("train")
    return found if isinstance(found, Mapping) else {}


def note(path: Path, changed: Changed, made: str) -> None:
    """Add a change, made at this moment, to changes.json; one that a kill cut short is not noted again.

    Raises:
        UserError: the file is damaged.
    """
    noted = read(path)
    if not noted or {key: tuple(pair) for key, pair in noted[-1]["train"].items()} != changed:
        write_record(path, {"format": FORMAT, "changes": [*noted, {"made": made, "train": changed}]})


def began(path: Path) -> dict[str, Any]:
    """What the keys that ever changed were at the beginning of the run.

    Raises:
        UserError: the file is damaged.
    """
    first: dict[str, Any] = {}
    for change in read(path):
        first = {key: old for key, (old, _) in change["train"].items()} | first
    return first


def told(changed: Changed) -> Iterator[str]:
    """What changed and what of the numbers stays, a line a key."""
    for key, (old, new) in changed.items():
        bits = "the same bits" if key in SAME_BITS else "the same numbers up to rounding"
        yield f"train.{key} {_short(old)} → {_short(new)}: {bits}; nothing is trained anew"


def _short(value: Any) -> str:
    return " × ".join(f"{axis} {size}" for axis, size in value.items()) if isinstance(value, dict) else str(value)


def read(path: Path) -> list[dict[str, Any]]:
    """The changes so far, oldest first: {"made": when, "train": {key: [before, after]}}; [] where there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return []
    found = read_record(path, "the changes of a run", {"format": FORMAT}, "Remove it to forget them.", _Record)
    changes: list[dict[str, Any]] = found["changes"]
    return changes
