"""Designs that cannot tell effects apart are refused with the reason; loose directions of a fit are named."""

from __future__ import annotations

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.law import Table
from splitjax.law.fitting.identify import check_design, ridge


def rows(points: list[tuple[float, float, float]]) -> Table:
    return Table.from_rows(
        {"n_params": n, "d_pretrain": d, "d_special": s, "loss": 3 + i / 100} for i, (n, d, s) in enumerate(points)
    )


N = (1e6, 2e6, 4e6)


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ([(n, 20 * n, s) for n in N for s in (1e5, 1e6)], r"d_pretrain/n_params is constant"),
        ([(n, n**2, s) for n in N for s in (1e5, 1e6)], r"d_pretrain grows as n_params\^2"),
        ([(n, d, d / 10) for n in N for d in (1e7, 3e7)], r"d_special/d_pretrain is constant"),
        ([(n, d, n / 10) for n in N for d in (1e7, 3e7)], r"d_special/n_params is constant"),
        ([(n, d, n * d / 1e7) for n in N for d in (1e7, 3e7)], r"d_special is fixed by n_params and d_pretrain"),
        ([(n, 1e7, s) for n in N for s in (1e5, 1e6)], r"d_pretrain is 1e\+07 in every row"),
        ([(n, d, 0) for n in N for d in (1e7, 3e7)], r"d_special is 0 in every row"),
    ],
)
def test_a_tied_design_is_refused(points: list[tuple[float, float, float]], told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_design(rows(points))


def test_grids_pass_and_zero_cells_break_a_tie() -> None:
    check_design(rows([(n, d, s) for n in N for d in (1e7, 3e7) for s in (1e5, 1e6)]))
    check_design(rows([(n, d, s) for n in N for d in (1e7, 3e7) for s in (0, d / 10)]))
    check_design(rows([(1e6, d, s) for d in (1e7, 3e7) for s in (0, 1e5, 1e6)]))


def test_a_ridge_is_named() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40))
    names = ["p", "q", "r", "dead"]
    free = np.ones(4, bool)
    assert ridge(names, np.stack([a, b, a * b, 0 * a], 1), free) == ["dead"]
    assert ridge(names, np.stack([a, b, 2 * a, a * b], 1), free) == ["p", "r"]
    assert ridge(names, np.stack([a, b, 2 * a, a * b], 1), np.array([True, True, False, True])) == []
