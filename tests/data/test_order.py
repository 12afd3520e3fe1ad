"""Long documents are encoded in stretches, short ones in batches: the ids come out in the order of the documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splitjax.data import prepare_parts
from splitjax.data.prepare_parts import Tokenise


@pytest.mark.parametrize("lengths", [
    "ssLsLLsss", "LsssL", "LL", "sss", "L", "", "sLsLsLs",
])
def test_ids_come_in_the_order_of_the_documents(lengths: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other document was dropped. A document's ids are its number, twice; a long one's come in two stretches."""
    monkeypatch.setattr(prepare_parts, "_LONG", 100)
    kept = np.arange(1, 2 * len(lengths), 2)
    size = np.ones(2 * len(lengths) + 1, np.int64)
    size[kept] = [100 if each == "L" else 99 for each in lengths]
    spool: Any = SimpleNamespace(
        array=lambda name: {"size": size}[name], texts=lambda rows: (str(row) for row in rows),
        chunks=lambda row: iter([str(row), str(row)]),
    )

    def encode_long(chunks: Iterable[str]) -> Iterator[list[int]]:
        return ([int(each)] for each in chunks)

    tokenizer: Any = SimpleNamespace(encode_batch=lambda batch: [[int(each), int(each)] for each in batch],
                                     encode_long=encode_long)
    here: Any = SimpleNamespace(spool=spool)
    found = [[list(some) for some in ids] for ids in Tokenise._encoded(here, kept, tokenizer)]
    assert found == [[[row], [row]] if each == "L" else [[row, row]]
                     for row, each in zip(kept.tolist(), lengths, strict=True)]
