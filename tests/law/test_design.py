"""Designs: they cost what was given, they narrow the split, and the next run beats others."""

from __future__ import annotations

import pytest

from splitjax.config import UserError
from splitjax.law import Budget, Cell, LawFit, fit, next_run, propose
from splitjax.law.splitting.design import main_price, price

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


def test_first_runs_cover_the_main_runs_own_paths_within_the_price() -> None:
    n, t, k = BUDGET.n_params, BUDGET.tokens, BUDGET.experts
    assert main_price(BUDGET) == pytest.approx(6 * n * t)
    assert main_price(Budget(n, t, k, "per_model")) == pytest.approx(6 * n * (t / 2 + k * t / 2))
    small, large = propose(n, t, k, 0.05), propose(n, t, k, 0.5)
    for design, share in ((small, 0.05), (large, 0.5)):
        assert design.share <= 1.02 * share
        assert design.share > 0.8 * share
        assert design.flops == pytest.approx(price(design.cells, k))
        assert design.flops == pytest.approx(design.share * 6 * n * t)
        spent = {cell.d_pretrain + k * cell.d_special for cell in design.cells}
        assert all(total == pytest.approx(t) or total == pytest.approx(t / 2) for total in spent)
        assert len({cell.n_params for cell in design.cells}) == 3
        assert any(cell.d_special == 0 for cell in design.cells)
        assert design.sd_after < design.sd_before
    assert max(c.n_params for c in large.cells) > max(c.n_params for c in small.cells)
    own = propose(n, t, k, 0.05, "per_model")
    assert {round(cell.d_pretrain + cell.d_special) for cell in own.cells} == {round(t), round(t / 2)}
    with pytest.raises(UserError, match="do not pay for 3 small models"):
        propose(n, t, k, 1e-5)


def test_a_law_proposes_runs_one_after_another(law: LawFit) -> None:
    n, t, k = BUDGET.n_params, BUDGET.tokens, BUDGET.experts
    found = propose(n, t, k, 0.3, law=law)
    assert found.cells
    assert {cell.n_params for cell in found.cells} <= set(law.table.n_params)
    assert found.flops <= 0.3 * main_price(BUDGET)
    assert found.sd_after < found.sd_before
    # alone each would have been worth less than all of them together
    first = propose(n, t, k, price(found.cells[:1], k) / main_price(BUDGET), law=law)
    assert first.sd_after >= found.sd_after
    with pytest.raises(UserError, match="pay for no run"):
        propose(n, t, k, 1e-9, law=law)
    with pytest.raises(UserError, match="no bootstrap draws"):
        propose(n, t, k, 0.3, law=exact("blending"))


def test_the_next_run_narrows_the_split(law: LawFit) -> None:
    found = next_run(law, BUDGET, 1e16)
    assert found.flops <= 1e16
    assert found.sd_after < found.sd_before
    assert next_run(law, BUDGET, 1e18).sd_after <= found.sd_after
    with pytest.raises(UserError, match="no run on the grid of the table costs"):
        next_run(law, BUDGET, 1.0)
    with pytest.raises(UserError, match="no bootstrap draws"):
        next_run(exact("blending"), BUDGET, 1e16)


def test_a_law_that_knows_no_corner_is_asked_for_runs_that_it_knows() -> None:
    inside = fit(table("additive", noise=0.01), "additive", bootstrap=20)
    assert not inside.chosen.finite(1e8, 0.0), "or this test shows nothing"
    found = next_run(inside, BUDGET, 1e17)
    assert found.cell.d_pretrain > 0
    assert found.cell.d_special > 0
    assert 0 < found.sd_after < found.sd_before
    assert all(cell.d_special > 0 for cell in propose(3e7, 1e9, 8, 0.3, law=inside).cells)


def test_tokens_behind_a_seed_are_neither_paid_for_nor_unmade(law: LawFit) -> None:
    # 40M of the 100M tokens are behind the seed; the last fifth of the path is decayed apart
    assert price([Cell(1e6, 1e8, 0.0)], 8, 4e7) == pytest.approx(6e6 * (6e7 + 2e7))
    seeded = Budget(3e7, 1e9, 8, "total", before=4e7)
    found = next_run(law, seeded, 1e16)
    assert found.cell.d_pretrain >= 4e7
    assert found.flops == pytest.approx(price([found.cell], 8, 4e7))
    assert main_price(seeded) == pytest.approx(main_price(BUDGET))
