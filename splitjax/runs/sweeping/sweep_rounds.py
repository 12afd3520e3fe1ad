"""sweep.json: the rounds of a sweep that chooses its own cells, each written before its first cell starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import Model, read_record, write_record

from ..phase_tree import Cell, model_tag
from ..run_folder import FORMAT

MEND = "Use --redo sweep to choose anew."


class _Record(TypedDict):
    models: dict[str, dict[str, Any]]
    foreseen: list[tuple[str, int, int]]
    rounds: list[dict[str, Any]]
    ended: str | None


@dataclass(frozen=True)
class Round:
    """Cells chosen together.

    Attributes:
        cells: in the order in which they were chosen.
        reason: why these, in a sentence.
        flops: what they cost beyond the rounds before, shared trunks once.
        sd_before, sd_after: standard deviation of the split fraction, known before and expected after.
        device_hours: of the same, as predicted for the hardware that the config names; None where it names none.
    """

    cells: tuple[Cell, ...]
    reason: str
    flops: float
    sd_before: float
    sd_after: float
    device_hours: float | None = None


@dataclass(frozen=True)
class Rounds:
    """All rounds so far.

    Attributes:
        foreseen: every cell that a later round may choose: trunks are saved where these leave them.
        rounds: in order.
        ended: why no further round follows; None while one may.
    """

    foreseen: tuple[Cell, ...]
    rounds: tuple[Round, ...]
    ended: str | None = None

    @property
    def cells(self) -> list[Cell]:
        """Those chosen, sorted by id."""
        return sorted({cell for each in self.rounds for cell in each.cells}, key=lambda cell: cell.id)

    @property
    def flops(self) -> float:
        """Of all rounds."""
        return sum(each.flops for each in self.rounds)

    def told(self) -> str:
        """The newest in a sentence."""
        if self.ended is not None:
            return f"The sweep ends: {self.ended}."
        last = self.rounds[-1]
        hours = "" if last.device_hours is None else f", {last.device_hours:.3g} device-hours"
        return f"Round {len(self.rounds)}: {len(last.cells)} cells, {last.flops:.3g} FLOPs{hours}; {last.reason}."

    def save(self, path: Path) -> None:
        """Write sweep.json, whole or not at all."""
        models = {model_tag(cell.model): cell.model.model_dump(mode="json") for cell in self._all()}
        rounds = [
            {
                "cells": [_plain(cell) for cell in each.cells], "reason": each.reason, "flops": each.flops,
                "sd_before": each.sd_before, "sd_after": each.sd_after, "device_hours": each.device_hours,
            }
            for each in self.rounds
        ]
        foreseen = [_plain(cell) for cell in self.foreseen]
        write_record(path, {
            "format": FORMAT, "models": models, "foreseen": foreseen, "rounds": rounds, "ended": self.ended,
        })

    @staticmethod
    def load(path: Path) -> Rounds | None:
        """What `save` wrote; None where there is nothing yet.

        Raises:
            UserError: damaged, or of another format.
        """
        if not path.exists():
            return None
        told = read_record(path, "the rounds of a sweep", {"format": FORMAT}, MEND, _Record)
        models = {tag: Model.model_validate(tree) for tag, tree in told["models"].items()}
        rounds = (
            Round(_cells(each["cells"], models), **{k: each[k] for k in ("reason", "flops", "sd_before", "sd_after")},
                  device_hours=each.get("device_hours"))
            for each in told["rounds"]
        )
        return Rounds(_cells(told["foreseen"], models), tuple(rounds), told["ended"])

    def _all(self) -> Iterable[Cell]:
        return [*self.foreseen, *(cell for each in self.rounds for cell in each.cells)]


def _plain(cell: Cell) -> tuple[str, int, int]:
    return model_tag(cell.model), cell.pretrain, cell.special


def _cells(rows: Iterable[tuple[str, int, int]], models: Mapping[str, Model]) -> tuple[Cell, ...]:
    return tuple(Cell(models[tag], pretrain, special) for tag, pretrain, special in rows)
