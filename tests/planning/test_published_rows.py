"""The roofline against what others published."""

from __future__ import annotations

import pytest

from splitjax.planning.published_rows import ROWS, Row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} {row.source} {row.chip}".replace(" ", "-"))
def test_one_efficiency_a_chip_gives_published_rows_within_15_percent(row: Row) -> None:
    assert row.predicted() == pytest.approx(row.tokens_per_s, rel=0.15)
