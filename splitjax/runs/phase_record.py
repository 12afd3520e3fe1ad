"""What lies in the folder of a phase: what it is, that it is done, what its cells measured, and its log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import Config, UserError, hash_file, hash_json, read_record
from splitjax.train import read_metrics

from .phase_tree import Phase

FORMAT = 3
LOG = "metrics.jsonl"
MEND = "Remove the folder it lies in and run again: the phase is trained anew."
Losses = dict[str, dict[str, float]]
"""Validation loss, nats a token, by cell id and domain."""


class _Parent(TypedDict):
    name: NotRequired[str]
    model: NotRequired[dict[str, Any]]
    seeds: NotRequired[list[int | None]]
    parent: str | None
    ends: list[str]


class _PhaseRecord(TypedDict):
    identity: str
    phase: _Parent


class _DoneRecord(TypedDict):
    identity: str
    stop: int
    validation: dict[str, dict[str, float | None]]
    log: str


def read_phase(folder: Path) -> dict[str, Any]:
    """A phase's phase.json: its identity, and the phase as plain values.

    Raises:
        UserError: missing, damaged or of another format.
    """
    return read_record(folder / "phase.json", "the record of a phase", {"format": FORMAT}, MEND, _PhaseRecord)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a finished phase's metrics; [] where the log was removed.

    Raises:
        UserError: the log is not as the phase left it, or the phase is not finished.
    """
    path = folder / LOG
    if not path.exists():
        return []
    if hash_file(path) != read_done(folder)["log"]:
        raise UserError("changed since its phase ended", where=str(path), mend="Remove it to go on without its curve.")
    return read_metrics(path)


def read_done(folder: Path) -> dict[str, Any]:
    """A finished phase's done.json.

    Raises:
        UserError: missing, damaged or of another format.
    """
    return read_record(folder / "done.json", "the record of a phase", {"format": FORMAT}, MEND, _DoneRecord)


def identities_of(
    phase: Mapping[str, Any], config: Config, before: Mapping[str, Any], manifest: str, experts: int, seed: str | None
) -> tuple[str, str]:
    """Everything that the phase's numbers depend on, except how far it goes and their rounding.

    Args:
        phase: as JSON has it, see `plain`.
        before: the recipe as an earlier splitjax wrote it down, see `RunFolder.recipe_before`.
        manifest: hash of the data.
        seed: hash of the folder that the run starts from; None: fresh weights.

    Returns:
        What its records hold, and what those of an earlier splitjax hold.
    """
    seeds = [config.seed if one is None else one for one in phase["seeds"]]
    more = [seeds, manifest, experts, config.evaluate.windows, *([seed] if seed else [])]
    now, earlier = (
        hash_json([phase["name"], phase["model"], recipe, *more]) for recipe in (config.train.recipe(), before)
    )
    return now, earlier


def plain(phase: Phase) -> dict[str, Any]:
    """A phase as JSON has it."""
    return asdict(phase) | {
        "model": phase.model.model_dump(mode="json"),
        "ends": [cell.id for cell in phase.ends],
    }


def losses_of(record: Mapping[str, Any], cells: Sequence[str]) -> Losses | None:
    """Validation losses of these cells, as `read_done` has them; None where one is missing."""
    measured = {cell: record["validation"].get(cell) for cell in cells}
    if None in measured.values():
        return None
    # JSON has no NaN: a loss that was not finite comes back as null.
    return {cell: {k: math.nan if v is None else v for k, v in losses.items()} for cell, losses in measured.items()}
