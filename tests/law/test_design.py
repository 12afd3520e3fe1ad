"""Designs: they cost what was given, they narrow the split, and the next run beats others."""

from __future__ import annotations

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.law import Budget, Cell, LawFit, fit, next_run, propose
from splitjax.law.splitting.design import posterior_variance, price

from .synthetic import exact, table

BUDGET = Budget(3e7, 1e9, 8, "total")


@pytest.fixture(scope="module")
def law() -> LawFit:
    return fit(table("blending", noise=0.02), ["blending", "effective_data"], bootstrap=60)


def test_the_price_shares_trunks() -> None:
    dense = [Cell(1e6, 1e8, 0.0), Cell(1e6, 5e7, 0.0)]
    # One trunk to the longer D, and the decay of each run over the last fifth of its path.
    assert price(dense, 8) == pytest.approx(6e6 * (1e8 + 0.2e8 + 0.1e8))
    assert price([Cell(1e6, 1e8, 5e7)], 8) == pytest.approx(6e6 * (1e8 + 8 * 5e7))
    assert price([Cell(1e6, 1e8, 1e7)], 8) == pytest.approx(6e6 * (1e8 + 1.2e7 + 8e7))
    assert price([Cell(1e6, 0.0, 1e7)], 3) == pytest.approx(6e6 * 3e7)
    assert price([*dense, Cell(2e6, 1e8, 0.0)], 8) == pytest.approx(price(dense, 8) + 12e6 * 1.2e8)


def test_seeing_what_the_split_depends_on_leaves_little() -> None:
    rng = np.random.default_rng(0)
    z, other = rng.normal(size=(2, 4000))
    assert posterior_variance(z, np.stack([other], 1), 0.1) == pytest.approx(z.var(), rel=0.01)
    assert posterior_variance(z, np.stack([z], 1), 0.1) == pytest.approx(0.01, rel=0.1)
    assert posterior_variance(z, np.stack([z, z], 1), 0.1) == pytest.approx(0.005, rel=0.1)
    assert posterior_variance(z, np.stack([z], 1), 10.0) > 0.9 * z.var()


def test_a_proposed_grid_fits_its_budget_and_has_the_corners() -> None:
    small, large = propose(1e15, BUDGET), propose(1e17, BUDGET)
    for design, flops in ((small, 1e15), (large, 1e17)):
        assert design.flops == pytest.approx(flops, rel=0.01) or design.flops < flops
        assert len({cell.n_params for cell in design.cells}) >= 3
        assert max(cell.n_params for cell in design.cells) <= BUDGET.n_params
        assert any(cell.d_special == 0 for cell in design.cells)
        assert any(cell.d_pretrain == 0 for cell in design.cells)
        assert design.sd_after < design.sd_before
    assert large.sd_after < small.sd_after
    assert propose(1e15, BUDGET, noise=0.05).sd_after > small.sd_after
    with pytest.raises(UserError, match="do not pay for a grid"):
        propose(1e3, BUDGET)


def test_the_next_run_narrows_the_split(law: LawFit) -> None:
    found = next_run(law, BUDGET, 1e16)
    assert found.flops <= 1e16
    assert found.sd_after < found.sd_before
    assert next_run(law, BUDGET, 1e18).sd_after <= found.sd_after
    with pytest.raises(UserError, match="no run on the grid of the table costs"):
        next_run(law, BUDGET, 1.0)
    with pytest.raises(UserError, match="no bootstrap draws"):
        next_run(exact("blending"), BUDGET, 1e16)
