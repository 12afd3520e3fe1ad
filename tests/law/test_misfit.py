"""What a law gets wrong beyond noise: found where it is, not where it is not, and in the intervals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from splitjax.law import Budget, LawFit, Table, fit, plan
from splitjax.law.fitting.misfit import Misfit, misfit_of

from .synthetic import exact, grid, table

WEIGHTS = {"": 1.0}


def wander(n: np.ndarray, d: np.ndarray, s: np.ndarray, scale: float, seed: int, length: float = 1.0) -> np.ndarray:
    """A smooth misfit at given cells, in log loss."""
    at = np.stack([np.log(n) / 2.0, np.log(d + 4e5) / length, np.log(s + 4e5) / length], 1)
    distance = np.sqrt(3 * np.square(at[:, None] - at[None]).sum(-1))
    covariance = (1 + distance) * np.exp(-distance) + 1e-8 * np.eye(len(at))
    return scale * np.linalg.cholesky(covariance) @ np.random.default_rng(seed).normal(size=len(at))


def bent(rows: Table, scale: float, seed: int) -> Table:
    """The same rows, off by a misfit that all domains of a run share."""
    n, d, s = rows.n_params, rows.d_pretrain, rows.d_special
    _, first, unit = np.unique(rows.run, return_index=True, return_inverse=True)
    return dataclasses.replace(rows, loss=rows.loss * np.exp(wander(n[first], d[first], s[first], scale, seed)[unit]))


def truth_of(rows: Table) -> np.ndarray:
    return exact("effective_data").chosen.on(rows)


@pytest.mark.parametrize("noise", [0.001, 0.003, 0.01])
def test_noise_alone_is_no_misfit(noise: float) -> None:
    tables = [table("effective_data", noise=noise, seed=seed) for seed in range(20)]
    found = [misfit_of(rows, truth_of(rows)) for rows in tables]
    assert sum(each is not None for each in found) <= 1


def test_a_misfit_is_found_with_its_size() -> None:
    found = []
    for seed in range(20):
        rows = bent(table("effective_data", noise=0.003, seed=seed), 0.02, seed)
        each = misfit_of(rows, truth_of(rows))
        assert each is not None
        found.append(each.scale)
    assert 0.012 < np.median(found) < 0.03


def test_what_domains_have_alone_weighs_less_in_their_mean() -> None:
    shared, alone = Misfit(0.02, 1.0, 0.0, 1.0, 1e5), Misfit(0.02, 0.0, 4.0, 1.0, 1e5)  # of four domains
    d, s = np.array([1e6, 1e7]), np.array([1e7, 1e6])
    four = dict.fromkeys("abcd", 0.25)
    spread = [each.draws(d, s, weights, 4000).std() for each in (shared, alone) for weights in (four, {"a": 1.0})]
    assert spread == pytest.approx([0.02, 0.02, 0.02, 0.04], rel=0.05)
    by_domain = table("effective_data", noise=0.02, domains={name: {} for name in "abcd"})
    mixed = bent(by_domain, 0.02, 0)
    found = misfit_of(mixed, truth_of(dataclasses.replace(mixed, domain=np.full(len(mixed), ""))))
    assert found is not None
    assert 0.02 < found.own / 4 < 0.7
    assert found.common + found.own / 4 == pytest.approx(1.0)


def test_neighbours_are_off_alike() -> None:
    draws = Misfit(0.02, 1.0, 0.0, 1.0, 1e5).draws(np.array([1e7, 1.1e7, 1e9]), np.full(3, 1e6), WEIGHTS, 4000)
    near, far = np.corrcoef(draws[:, 0], draws[:, 1])[0, 1], np.corrcoef(draws[:, 0], draws[:, 2])[0, 1]
    assert near > 0.97
    assert far < 0.1


def test_too_few_rows_tell_no_misfit() -> None:
    rows = table("effective_data", sizes=[1e6], pretrain=[2e6, 6e6], special=[0.0, 4e5])
    assert misfit_of(bent(rows, 0.1, 0), truth_of(rows)) is None


def test_intervals_allow_for_a_misfit(monkeypatch: pytest.MonkeyPatch) -> None:
    law = fit(bent(table("effective_data", noise=0.002), 0.02, 1), "effective_data", bootstrap=60)
    found = plan(law, 3e7, 5e8, 8)
    assert any("off by" in note for note in found.notes)
    monkeypatch.setattr(LawFit, "misfit", lambda law, fitted: None)
    noise = plan(law, 3e7, 5e8, 8)
    assert noise.split_fraction == found.split_fraction
    for wide, narrow in (
        (found.interval, noise.interval),
        (found.loss_interval, noise.loss_interval),
        (found.per_domain[""]["interval"], noise.per_domain[""]["interval"]),
        (found.baselines["dense"]["interval"], noise.baselines["dense"]["interval"]),
    ):
        assert wide[1] - wide[0] > 1.3 * (narrow[1] - narrow[0])
    assert (found.curve.high - found.curve.low).min() > (noise.curve.high - noise.curve.low).min()
    assert not any("off by" in note for note in noise.notes)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ninety_percent_intervals_hold_the_split_of_a_law_that_no_family_has() -> None:
    """Of 100 tables whose truth is off by 1.5 % in stretches, on the rows and on the path of the main run alike."""
    n, tokens, experts = 3e7, 1e9, 8
    fraction = np.linspace(0, 1, 401)
    d, s = Budget(n, tokens, experts, "total").spend(fraction)
    held: dict[str, list[bool]] = {"with": [], "without": []}
    for seed in range(100):
        points = np.concatenate([grid((3e5, 1e6, 3e6, 1e7), (2e6, 6e6, 2e7, 6e7, 2e8), (0.0, 4e5, 2e6, 1e7)),
                                 np.stack([np.full(401, n), d, s], 1)])  # fmt: skip
        off = wander(*points.T, 0.015, seed)
        rows = table("effective_data", noise=0.003, seed=seed)
        rows = dataclasses.replace(rows, loss=rows.loss * np.exp(off[: len(rows)]))
        truth = exact("effective_data").predict(n, d, s) * np.exp(off[len(rows) :])
        law = fit(rows, "effective_data", bootstrap=100, seed=seed)
        for name, misfit in (("with", LawFit.misfit), ("without", lambda law, fitted: None)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(LawFit, "misfit", misfit)
                low, high = plan(law, n, tokens, experts).interval
            held[name].append(low - 0.0025 <= fraction[np.argmin(truth)] <= high + 0.0025)
    shares = {name: float(np.mean(each)) for name, each in held.items()}
    print(shares)
    assert shares["with"] >= 0.82
    assert shares["without"] < 0.7, "else the misfit is not needed"
