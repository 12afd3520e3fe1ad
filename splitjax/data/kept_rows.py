"""Which of the documents read are kept: rows of arrays from here on, their texts stay on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Data, Source, UserError

from . import minhash
from .documents import cap_keys, sample_keys, split_ids, take_chars
from .spool import Spool

_EXAMPLES, _SHOWN = 3, 200
"""Near-duplicates that are shown, and their characters."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The kept documents, in the order of sources: where each lies, and what its hash says of it.

    Attributes:
        spools: texts of each part.
        digest_N2: 128 bits of the text.
        chars_N: its characters.
        spool_N: index of the spool that holds it.
        index_N: its place in the spool.
        split_N: 0 train, 1 validation, 2 test.
        labels_N: label, or None.
        dropped: documents left out, by reason.
        near_M: for each near-duplicate left out, the kept row that it is like; −1 where that one was left out after it.
        near_examples: openings of a kept document and of one left out for it, of the first few.
    """

    spools: tuple[Spool, ...]
    digest_N2: NDArray[np.uint64]
    chars_N: NDArray[np.int64]
    spool_N: NDArray[np.int64]
    index_N: NDArray[np.int64]
    split_N: NDArray[np.int8]
    labels_N: list[str | None]
    dropped: dict[str, int]
    near_M: NDArray[np.int64]
    near_examples: tuple[tuple[str, str], ...]

    def only(self, kept_N: NDArray[np.bool_]) -> Rows:
        """These rows alone; the spools are told."""
        for index in np.unique(self.spool_N):
            here_N = self.spool_N == index
            keep = self.spools[index].array("keep").copy()
            keep[self.index_N[here_N]] = kept_N[here_N]
            self.spools[index].save_array("keep", keep)
        place_N = np.where(kept_N, np.cumsum(kept_N) - 1, -1)
        near_M = np.where(self.near_M < 0, -1, place_N[self.near_M])
        names = ("digest_N2", "chars_N", "spool_N", "index_N", "split_N")
        arrays = {name: getattr(self, name)[kept_N] for name in names}
        labels_N = [self.labels_N[row] for row in np.flatnonzero(kept_N)]
        return dataclasses.replace(self, labels_N=labels_N, near_M=near_M, **arrays)

    def column(self, kind: str) -> NDArray[np.int64]:
        """An array that a task left beside the spools (a value a document read) for the kept documents."""
        return np.concatenate([spool.array(kind)[spool.array("keep")] for spool in self.spools]).astype(np.int64)

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each document, the id at its head included."""
        return self.column("length") + 1

    def token_starts(self) -> NDArray[np.int64]:
        """Where each document's tokens begin in its spool's."""
        starts = [np.cumsum(n := spool.array("length").astype(np.int64)) - n for spool in self.spools]
        return np.concatenate([start[spool.array("keep")] for start, spool in zip(starts, self.spools, strict=True)])

    def vectors(self) -> NDArray[np.float32]:
        """The embedding that came with each document.

        Raises:
            UserError: some came without, or they differ in length.
        """
        given = [spool for spool in self.spools if spool.path("vector.npy").exists()]
        found = [spool.array("vector")[spool.array("keep")] for spool in given]
        if sum(map(len, found)) != len(self.chars_N) or len({rows.shape[1] for rows in found}) != 1:
            raise UserError("not every document has an embedding of one length", where="data.domains.vectors",
                            mend="Set vector_field in every source, or vectors=tfidf.")
        return np.concatenate(found).astype(np.float32)

    def train_sample(self) -> NDArray[np.int64]:
        """Train documents in the order of the hash that chooses samples."""
        rows = np.flatnonzero(self.split_N == 0)
        return rows[np.argsort(sample_keys(self.digest_N2[rows]), kind="stable")]

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """Texts of some rows, in their order."""
        found: dict[int, str] = {}
        for index in np.unique(self.spool_N[rows]):
            here = rows[self.spool_N[rows] == index]
            found.update(zip(here.tolist(), self.spools[index].texts(self.index_N[here]), strict=True))
        return [found[row] for row in rows.tolist()]

    def label_ids(self) -> tuple[list[str], NDArray[np.int64]] | None:
        """Sorted labels and the label of each row; None where a row has none."""
        if None in self.labels_N:
            return None
        return _numbered([label or "" for label in self.labels_N])


def _numbered(labels: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Sorted labels and the label of each row. No array of text: every row of it would be as wide as the longest."""
    names = sorted(set(labels))
    place = {name: index for index, name in enumerate(names)}
    return names, np.array([place[label] for label in labels], np.int64)


def choose(data: Data, parts: Sequence[tuple[Source, str]], spools: tuple[Spool, ...]) -> Rows:
    """Leave out what is white space alone, duplicates and what lies beyond a cap; tell the spools what they `keep`.

    Raises:
        UserError: nothing is left, or nothing to train on.
    """
    counts = [len(spool.array("size")) for spool in spools]
    spool_A = np.repeat(np.arange(len(spools)), counts)
    digest_A2 = np.concatenate([spool.array("digest") for spool in spools])
    chars_A = np.concatenate([spool.array("chars") for spool in spools])
    labels_A = [label for spool in spools for label in spool.labels()]
    keep_A, dropped = np.concatenate([spool.array("blank") for spool in spools]) == 0, {}
    dropped["empty"] = int((~keep_A).sum())
    dropped["exact_duplicates"] = _drop(keep_A, _repeated(digest_A2))
    twin_A = _near(data, spools, keep_A)
    dropped["near_duplicates"] = _drop(keep_A, twin_A >= 0)
    dropped["beyond_max_chars"] = _drop(keep_A, _beyond(data, parts, keep_A, digest_A2, chars_A, spool_A, labels_A))
    starts = np.cumsum([0, *counts])
    for index, spool in enumerate(spools):
        spool.save_array("keep", keep_A[starts[index] : starts[index + 1]])
    rows = np.flatnonzero(keep_A)
    split_N = split_ids(digest_A2[rows], data.validation, data.test)
    if not (split_N == 0).any():
        raise UserError("the sources hold no document to train on", where="data.sources", mend="Give more text.")
    labels_N = [labels_A[row] for row in rows]
    spool_N = spool_A[rows]
    near = np.flatnonzero(twin_A >= 0)
    shown = [tuple(_opening(spools, spool_A, starts, row) for row in (twin_A[one], one)) for one in near[:_EXAMPLES]]
    near_M = np.where(keep_A[twin_A[near]], np.searchsorted(rows, twin_A[near]), -1)
    return Rows(spools, digest_A2[rows], chars_A[rows], spool_N, rows - starts[spool_N], split_N, labels_N, dropped,
                near_M, tuple((kept, gone) for kept, gone in shown))


def _opening(spools: tuple[Spool, ...], spool_A: NDArray[np.int64], starts: NDArray[np.int64], row: int) -> str:
    spool = int(spool_A[row])
    (text,) = spools[spool].texts(np.array([row - starts[spool]]))
    return text[:_SHOWN]


def _drop(keep_A: NDArray[np.bool_], drop_A: NDArray[np.bool_]) -> int:
    count = int((keep_A & drop_A).sum())
    keep_A &= ~drop_A
    return count


def _repeated(digest_A2: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """All but the first of equal documents, in the order of sources and lines."""
    repeated_A = np.ones(len(digest_A2), bool)
    repeated_A[np.unique(digest_A2, axis=0, return_index=True)[1]] = False
    return repeated_A


def _near(data: Data, spools: tuple[Spool, ...], keep_A: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The kept row that each is a near-duplicate of; −1 for others."""
    twin_A = np.full(len(keep_A), -1)
    if data.near_duplicates is not None:
        sketch_AB, kept = np.concatenate([spool.array("sketch") for spool in spools]), np.flatnonzero(keep_A)
        twin_N = minhash.twins(sketch_AB[kept], data.near_duplicates)
        twin_A[kept] = np.where(twin_N < 0, -1, kept[twin_N])
    return twin_A


def _beyond(
    data: Data, parts: Sequence[tuple[Source, str]], keep_A: NDArray[np.bool_], digest_A2: NDArray[np.uint64],
    chars_A: NDArray[np.int64], spool_A: NDArray[np.int64], labels_A: list[str | None],
) -> NDArray[np.bool_]:
    """What lies beyond each source's `max_chars` for each of its labels."""
    beyond_A = np.zeros(len(keep_A), bool)
    label_A = _numbered([label or "" for label in labels_A])[1]
    for source in data.sources:
        if source.max_chars is None:
            continue
        ours_A = keep_A & np.isin(spool_A, [index for index, (other, _) in enumerate(parts) if other is source])
        for label in np.unique(label_A[ours_A]):
            rows = np.flatnonzero(ours_A & (label_A == label))
            taken = take_chars(cap_keys(digest_A2[rows]), chars_A[rows], source.max_chars)
            beyond_A[np.delete(rows, taken)] = True
    return beyond_A
