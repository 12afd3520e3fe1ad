"""One row of another unit moves nothing: not the fit, not the split; and it is told by its run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import binomtest

from splitjax.config import UserError
from splitjax.law import Budget, Table, fit, plan

from .synthetic import TRUTHS, exact, table

N, T, K = 3e7, 1e9, 8


def off(rows: Table, at: int, times: float) -> Table:
    """The same rows, one of them in another unit."""
    return dataclasses.replace(rows, loss=np.where(np.arange(len(rows)) == at, times * rows.loss, rows.loss))


def regret(family: str, split: float, truth: dict[str, float] | None = None) -> float:
    """Of a split, on the noiseless truth."""
    law, budget = exact(family, truth), Budget(N, T, K, "total")
    grid = np.unique(np.append(np.linspace(0, 1, 2001), split))
    losses = law.predict(N, *budget.spend(grid))
    return float(losses[np.searchsorted(grid, split)] / losses.min() - 1)


@pytest.mark.parametrize("times", [0.3, 3.0])
def test_one_wild_row_moves_no_fit(times: float) -> None:
    clean = table("effective_data", noise=0.005)
    laws = [fit(rows, "effective_data", bootstrap=0) for rows in (clean, off(clean, 17, times))]
    one, other = (law.families[0].parameters() for law in laws)
    for name in ("b", "g", "a"):
        assert other[name] == pytest.approx(one[name], rel=0.1)
    assert laws[1].predict(N, 2e8, 1e8) == pytest.approx(laws[0].predict(N, 2e8, 1e8), rel=2e-3)
    told = laws[1].summary()["stand_out"]
    assert len(told) == 1
    assert told[0].startswith(f"run {clean.run[17]} by {'-70 %' if times < 1 else '+200 %'}".replace(" %", "%"))
    assert any(told[0] in note for note in laws[1].notes)
    assert not laws[0].summary()["stand_out"]


def test_a_wild_row_corrects_nothing() -> None:
    clean = table("effective_data", noise=0.003)
    assert fit(off(clean, 17, 0.3), "effective_data", bootstrap=0).chosen.correction is None


def test_a_law_that_explains_nothing_is_refused() -> None:
    rng = np.random.default_rng(0)
    rows = table("effective_data", noise=0.01)
    mixed = dataclasses.replace(rows, loss=np.where(rng.random(len(rows)) < 0.5, rows.loss, 12.0 - rows.loss))
    with pytest.raises(UserError, match=r"explains nothing of its own rows|grows with tokens"):
        fit(mixed, "effective_data", bootstrap=0)


def test_an_accuracy_is_refused_by_name() -> None:
    rows = table("effective_data", noise=0.01)
    with pytest.raises(UserError, match=r"the loss grows with tokens in \d+ % of comparable rows.*1-acc"):
        fit(dataclasses.replace(rows, loss=1.0 / rows.loss), bootstrap=0)


FAMILIES = ("effective_data", "adapting", "blending", "two_skills", "hernandez")


def costs(seed: int, noise: float, beside: str) -> float:
    """By how much the split's regret on the noiseless truth grows when one row of a random table is × 0.3 or × 3."""
    rng = np.random.default_rng(seed)
    family = FAMILIES[seed % len(FAMILIES)]
    truth = {name: value * (np.exp(0.3 * rng.normal()) if name in ("A", "B", "C", "k", "q", "D0") else 1.0)
             for name, value in TRUTHS[family].items()}
    clean = table(family, noise=noise, seed=seed, truth=truth)
    at = int(rng.integers(len(clean)))
    wild = off(clean, at, (0.3, 3.0)[seed // 5 % 2])
    good = clean.select(np.arange(len(clean)) != at) if beside == "left out" else clean
    one, other = (regret(family, plan(fit(rows, bootstrap=0, seed=seed), N, T, K).split_fraction, truth)
                  for rows in (good, wild))
    return other - one


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_one_wild_row_costs_nothing() -> None:
    """With the noise of our studies' run means."""
    grown = np.array([costs(seed, 0.004, "as it was") for seed in range(100)])
    print(np.sort(grown)[-10:])
    assert np.mean(grown <= 1e-3) >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_in_much_noise_a_wild_row_is_as_good_as_none() -> None:
    """With 1 % noise any row less moves a split by more than that, for better or worse: alike where it is left out."""
    grown = np.array([costs(seed, 0.01, "left out") for seed in range(100)])
    worse, better = int((grown > 1e-3).sum()), int((grown < -1e-3).sum())
    print(worse, better, grown.mean())
    assert worse + better <= 20
    assert binomtest(worse, worse + better, alternative="greater").pvalue > 0.01
    assert grown.mean() < 2e-4
