"""Goodput: the share of a run's training time that went into steps that count, and where the rest went."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.runs.phase_record import read_phase
from splitjax.runs.run_folder import RunFolder
from splitjax.train import CAUSES


class _Row(TypedDict):
    phase: Annotated[str, Field(pattern=r"^[^/\x00]+$")]
    tokens: Annotated[int, Field(ge=0)]
    seconds: dict[Literal[CAUSES], Annotated[float, Field(ge=0, le=1e12)]]  # type: ignore[valid-type]


_ROW: TypeAdapter[Any] = TypeAdapter(_Row)


def goodput(folder: RunFolder, experts: int, step_tokens: int) -> dict[str, Any] | None:
    """From times.jsonl: processes at work, their seconds added up; None where nothing was trained.

    A finished phase needs so many tokens and no more: steps beyond them were made again after a kill, and count as
    `redone`.

    Returns:
        ``{wall, share, seconds: {steps, redone, compile, data, checkpoint, evaluation, other}}``
    """
    spent: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(CAUSES, 0.0))
    tokens: dict[str, int] = defaultdict(int)
    for row in _rows(folder.times):
        tokens[row["phase"]] += row["tokens"]
        for cause, seconds in row["seconds"].items():
            spent[row["phase"]][cause] += seconds
    if not spent:
        return None
    total = {cause: sum(phase[cause] for phase in spent.values()) for cause in CAUSES}
    redone = sum(
        phase["steps"] * (1 - needed / tokens[name])
        for name, phase in spent.items()
        if (needed := _needed(folder.phase(name), experts, step_tokens)) and needed < tokens[name]
    )
    seconds = {"steps": total.pop("steps") - redone, "redone": redone, **total}
    wall = sum(seconds.values())
    rounded = {cause: round(value, 1) for cause, value in seconds.items()}
    return {"wall": round(wall, 1), "share": seconds["steps"] / wall if wall else 0.0, "seconds": rounded}


def told(found: dict[str, Any]) -> str:
    """`goodput` in a line."""
    wall = found["wall"] or 1.0
    rest = {cause: seconds / wall for cause, seconds in found["seconds"].items() if cause != "steps"}
    parts = ", ".join(f"{cause} {part:.0%}" for cause, part in sorted(rest.items(), key=lambda x: -x[1]) if part > 5e-3)
    return f"{found['share']:.0%} of {found['wall']:,.0f} s in steps" + (f"; {parts}" if parts else "")


def _needed(phase: Path, experts: int, step_tokens: int) -> int | None:
    """Tokens of the whole stack in a finished phase; None where it is not finished."""
    if not (phase / "done.json").exists():
        return None
    about = read_phase(phase)["phase"]
    try:
        models = len(about["seeds"]) * (experts if about["on"] == "domains" else 1)
        return int((about["stop"] - about["start"]) * models * step_tokens)
    except (KeyError, TypeError):
        return None  # forged: its readers name it


def _rows(path: Path) -> list[dict[str, Any]]:
    """Lines that are such; a kill may leave a part of the last."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValidationError, RecursionError):  # cut by a kill, or edited
                rows.append(_ROW.validate_json(line, strict=True))
    return rows
