"""What was read of one part of a source, on disk, for every task that comes after."""

from __future__ import annotations

import codecs
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .sources.rows import Skips

_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Spool:
    """Texts of one part of a source, as `name.txt` with arrays beside it."""

    folder: Path
    name: str

    def path(self, kind: str) -> Path:
        return self.folder / f"{self.name}.{kind}"

    def array(self, kind: str) -> NDArray[np.generic]:
        return np.load(self.path(f"{kind}.npy"), allow_pickle=False)

    def save_array(self, kind: str, values: NDArray[np.generic]) -> None:
        np.save(self.path(f"{kind}.npy"), values, allow_pickle=False)

    def skips(self) -> Skips:
        """The rows that were left out in reading."""
        return Skips(**json.loads(self.path("skipped.json").read_text()))

    def labels(self) -> list[str | None]:
        """The label of each document."""
        names, ids = json.loads(self.path("labels.json").read_text()), self.array("label")
        return [names[index] for index in ids]

    def texts(self, indices: NDArray[np.int64]) -> Iterator[str]:
        """Documents by index, read one at a time."""
        sizes = self.array("size").astype(np.int64)
        starts = np.cumsum(sizes) - sizes
        with open(self.path("txt"), "rb") as file:
            for index in indices:
                file.seek(int(starts[index]))
                yield file.read(int(sizes[index])).decode()

    def chunks(self, index: int) -> Iterator[str]:
        """One document, a stretch of it at a time."""
        sizes = self.array("size").astype(np.int64)
        left, decoder = int(sizes[index]), codecs.getincrementaldecoder("utf-8")()
        with open(self.path("txt"), "rb") as file:
            file.seek(int(sizes[:index].sum()))
            while left:
                data = file.read(min(left, _CHUNK))
                left -= len(data)
                yield decoder.decode(data)
