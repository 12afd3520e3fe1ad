"""The roofline against what others published."""

from __future__ import annotations

import pytest

from splitjax.config import Model
from splitjax.planning.published_rows import ROWS, Row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} {row.source} {row.chip}".replace(" ", "-"))
def test_one_efficiency_a_chip_gives_published_rows_within_15_percent(row: Row) -> None:
    assert row.predicted() == pytest.approx(row.tokens_per_s, rel=0.15)


def test_what_a_row_computed_again_beside_kernels() -> None:
    """The gate's and the up product: 2 · 2 D F FLOPs a token and layer; every second product: half of 2 W."""
    model = Model(d_model=16, n_layers=3, n_heads=2, d_ff=40)

    def again(remat: str) -> float:
        return Row("x", "y", "h100", model, 100, 8, 1, 8, remat, 1.0)._again()

    assert again("gate and up") == 3 * (2 * 2 * 16 * 40)
    assert again("every second product") == 3 * (4 * 16 * 16 + 3 * 16 * 40)
    assert again("none") == again("full") == 0
