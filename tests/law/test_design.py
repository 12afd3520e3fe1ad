"""Designs: they cost what was given, they narrow the split, and the next run beats others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.law import Budget, Cell, LawFit, fit, next_run, propose
from splitjax.law.splitting.cell_choice import Draws
from splitjax.law.splitting.design import NOISE, SHAPES, _candidates, _largest, best_shape, main_price, price

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


def test_candidates_are_split_curves_of_t_and_of_its_half_and_the_range_of_the_table() -> None:
    """K = 3: at a fraction f of T = 100M, D = f T and D' = (1 - f) T / 3. Of the table D is 2M to 200M, D' to 10M."""
    found = _candidates(exact("effective_data"), Budget(1e7, 1e8, 3, "total"))
    assert len(set(found)) == len(found)
    for n in (3e5, 1e6, 3e6, 1e7):
        own = [(cell.d_pretrain, cell.d_special) for cell in found if cell.n_params == n]
        for whole in (1e8, 5e7):
            splits = [d / whole for d, s in own if d + 3 * s == pytest.approx(whole)]
            assert sorted(splits) == pytest.approx([0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])
        rest = [pair for pair in own if not any(pair[0] + 3 * pair[1] == pytest.approx(x) for x in (1e8, 5e7))]
        assert len(rest) == 6 * 6 - 1, "five of each, and none; not none of both"
        assert sorted({d for d, _ in rest}) == pytest.approx([0, *(2e6 * 200 ** (i / 4) for i in range(5))])
        assert sorted({s for _, s in rest}) == pytest.approx([0, *(4e5 * 50 ** (i / 4) for i in range(5))])


def test_the_shape_that_leaves_the_split_narrowest_is_taken() -> None:
    """Two draws at ±a of the split and ±b of a loss: variances 2a², 2b². Where 2b² is the noise's, half is left: a²."""
    b = NOISE / np.sqrt(2)
    told = iter([None, (0.21, b), (0.2, b), (0.1, 0.0)])  # the first shape costs too much, the last shows nothing

    def made(full: Sequence[float], half: Sequence[float]) -> list[tuple[float, float]] | None:
        return [one] if (one := next(told)) else None

    def prior(cells: list[tuple[float, float]]) -> Draws:
        ((a, loss),) = cells
        return Draws(np.array([-a, a]), np.array([[-loss], [loss]]))

    found = best_shape(made, prior)
    assert found is not None
    assert found[0] == [(0.1, 0.0)]
    assert found[1].sd == pytest.approx(0.1)
    assert found[2] == pytest.approx(0.1 * np.sqrt(2))
    told = iter([None, (0.21, b), (0.2, b), (0.25, 0.0)])
    found = best_shape(made, prior)
    assert found is not None
    assert found[0] == [(0.2, b)]
    assert found[2] == pytest.approx(0.2)
    assert best_shape(lambda full, half: None, prior) is None


def test_first_runs_are_as_large_as_the_price_allows() -> None:
    """K = 3, T = 1B: a curve of (0.5, 1) costs its trunk of 1B, the decay of 0.2B, and three experts of 0.5B / 3; the
    smallest and the largest size also the decay of T / 2, 0.1B. So N = 1M, 2M and 4M cost 6 · 12.4e15."""
    budget = Budget(1e8, 1e9, 3, "total")

    def sizes(limit: float) -> list[float]:
        return sorted({cell.n_params for cell in _largest(limit, budget, (0.5, 1.0), (1.0,)) or []})

    assert sizes(6 * 12.4e15) == [1e6, 2e6, 4e6]
    assert sizes(1e30) == [1.2e7, 2.5e7, 5e7], "no run is larger than half of the main one"
    assert sizes(6 * 12.4e15 / 11) == [], "the smallest would lie over 1000 times below"
    for limit in 6 * 12.4e15 * np.geomspace(1, 8, 60):
        cells = _largest(float(limit), budget, (0.5, 1.0), (1.0,))
        assert cells is not None
        assert 0.93 * limit < price(cells, 3) <= 1.02 * limit
    asked = [float(max(sizes(float(limit)))) for limit in 6 * 12.4e15 * np.array([1.0, 2.0, 3.0])]
    assert asked == [4e6, 8e6, 1.2e7]


@pytest.mark.parametrize(("full", "half"), SHAPES)
def test_every_shape_of_first_runs_ends_at_one_model(full: tuple[float, ...], half: tuple[float, ...]) -> None:
    for fractions in (full, half):
        assert list(fractions) == sorted(set(fractions))
        assert 0 < fractions[0] < fractions[-1] == 1, "a split at 0 tells of no trunk"
