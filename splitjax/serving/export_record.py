"""What lies in an exported set: names of its experts and of their folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import UserError, read_record

FILE = "export.json"
FORMAT = 1
LONGEST_WINDOW = 1 << 24
"""Tokens that a window may be said to have: memory is asked for by it."""


def folder_names(names: Sequence[str]) -> list[str]:
    """A folder name for each expert: its own where that is a plain name, else spelt with underscores; all different."""
    taken: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "expert"
        candidates = [plain, *(f"{plain}-{number}" for number in range(2, len(names) + 2))]
        taken.append(next(one for one in candidates if one.lower() not in {other.lower() for other in taken}))
    return taken


class _Expert(TypedDict):
    name: str
    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")]


class _Set(TypedDict):
    model: str
    experts: Annotated[list[_Expert], Field(min_length=1)]
    end_token: str
    seq_len: Annotated[int, Field(ge=1, le=LONGEST_WINDOW)]


@dataclass(frozen=True)
class Exported:
    """A set that `export` wrote.

    Attributes:
        names: of the experts, in the router's order.
        folders: of the experts, in the same order.
        end_token: that began every document in training.
        seq_len: tokens of a window in training.
    """

    model: str
    names: tuple[str, ...]
    folders: tuple[Path, ...]
    end_token: str
    seq_len: int

    @classmethod
    def read(cls, folder: Path) -> Exported:
        """Read a set's export.json.

        Raises:
            UserError: damaged or of another format, or an expert's folder is missing.
        """
        told = read_record(folder / FILE, "an exported set", {"format": FORMAT}, "Export it again.", _Set)
        folders = tuple(folder / expert["folder"] for expert in told["experts"])
        for path in folders:
            if not path.is_dir():
                raise UserError("no such expert's folder in this set", where=str(path))
        names = tuple(expert["name"] for expert in told["experts"])
        return cls(told["model"], names, folders, told["end_token"], told["seq_len"])
