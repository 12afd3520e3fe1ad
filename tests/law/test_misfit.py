"""How likely a misfit is, by what a law has not followed; how far it pulls a fit; how sure its kernel is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.stats import multivariate_normal

from splitjax.law.fitting.bootstrap import in_stretches
from splitjax.law.fitting.correction import Correction, Runs, coordinates, pulled
from splitjax.law.fitting.process import Kernel, Part, Process, _Seen, likeliest, precision

from .synthetic import exact, table

AXES = [0, 3], [0, 1, 2]


def some_points(count: int = 14, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n, d, s = np.exp(rng.uniform(0.0, 5.0, (3, count)))
    return coordinates(n, d, s, 1.0)


def seen_at(at: np.ndarray, values: np.ndarray, followed: np.ndarray) -> _Seen:
    apart = np.square(at[:, None] - at[None])
    return _Seen(values, followed, apart[..., 0], tuple(apart[..., axes[1:]].sum(-1) for axes in AXES))


def kernel_of(logs: np.ndarray, variance: float) -> Kernel:
    one, other, odds, noise = np.exp(logs)
    scales = np.sqrt(variance * np.array([1.0, odds]) / (1.0 + odds))
    parts = tuple(Part(scale, {axis: other if axis else one for axis in axes})
                  for scale, axes in zip(scales, AXES, strict=True))
    return Kernel(parts, float(np.sqrt(variance * noise)))


def test_the_likelihood_is_that_of_what_was_not_followed() -> None:
    """Another library's: the density of all contrasts that are orthogonal to what was followed."""
    at, rng = some_points(), np.random.default_rng(1)
    followed = np.linalg.qr(rng.normal(size=(14, 3)))[0]
    values = 0.02 * rng.normal(size=14)
    values -= followed @ (followed.T @ values)
    seen, contrasts = seen_at(at, values, followed), null_space(followed.T)
    told, asked = [], []
    for logs in (np.log([1.0, 0.8, 0.5, 0.1]), np.log([3.0, 2.0, 1.5, 0.02])):
        inverse, _ = precision(seen.correlation(logs)[0], followed)
        kernel = kernel_of(logs, float(values @ inverse @ values) / 11)  # 14 values, of which 3 were followed
        covariance = contrasts.T @ (kernel.between(at, at) + kernel.noise**2 * np.eye(14)) @ contrasts
        asked.append(-multivariate_normal.logpdf(contrasts.T @ values, np.zeros(11), covariance))
        told.append(seen.unlikely(logs)[0])
    assert told[0] - told[1] == pytest.approx(asked[0] - asked[1], abs=1e-8)


def test_its_gradient_is_that_of_its_values() -> None:
    at, rng = some_points(), np.random.default_rng(2)
    followed = np.linalg.qr(rng.normal(size=(14, 2)))[0]
    seen = seen_at(at, 0.02 * rng.normal(size=14), followed)
    logs = np.log([1.5, 1.2, 0.7, 0.05])
    steps = 1e-5 * np.eye(4)
    slopes = [(seen.unlikely(logs + step)[0] - seen.unlikely(logs - step)[0]) / 2e-5 for step in steps]
    np.testing.assert_allclose(seen.unlikely(logs)[1], slopes, rtol=1e-5)


def test_a_misfit_of_which_a_law_took_a_part_keeps_its_size() -> None:
    """Residuals of lines fitted to a misfit of 2 %: their own likelihood takes it for smaller."""
    sizes: dict[str, list[float]] = {"all": [], "rest": []}
    for seed in range(12):
        at, rng = some_points(60, seed), np.random.default_rng(seed)
        kernel = kernel_of(np.log([2.0, 2.0, 1.0, 1e-3]), 0.02**2)
        values = np.linalg.cholesky(kernel.between(at, at) + 1e-9 * np.eye(60)) @ rng.normal(size=60)
        basis = np.linalg.qr(np.column_stack([np.ones(60), at]))[0]
        left = values - basis @ (basis.T @ values)
        for name, followed in (("all", None), ("rest", basis)):
            found = likeliest(at, left, *AXES, followed)
            assert found is not None
            sizes[name].append(found.scale)
    assert np.median(sizes["all"]) < 0.85 * np.median(sizes["rest"])
    assert 0.015 < np.median(sizes["rest"]) < 0.027


def test_five_figures_take_four_values_each() -> None:
    """Of 24 values those that a law has followed do not count."""
    at, rng = some_points(24, 5), np.random.default_rng(5)
    kernel = kernel_of(np.log([2.0, 2.0, 0.5, 1e-3]), 0.02**2)
    values = np.linalg.cholesky(kernel.between(at, at) + 1e-9 * np.eye(24)) @ rng.normal(size=24)
    followed = np.linalg.qr(rng.normal(size=(24, 5)))[0]
    assert likeliest(at, values, *AXES, followed[:, :4]) is not None
    assert likeliest(at, values, *AXES, followed) is None
    assert likeliest(at[:19], values[:19], *AXES) is None


def test_directions_that_a_law_follows_are_those_of_its_parameters() -> None:
    """Three runs of two rows each; a law that is free in the first run's level and in nothing else follows that."""
    rows = table("effective_data", sizes=[1e6], pretrain=[1e7], special=[0.0, 4e5, 2e6], domains={"a": {}, "b": {}})
    runs = Runs.of_table(rows, np.ones(6, bool))
    first = (rows.run == rows.run[0]).astype(float)[:, None]
    followed = runs.followed([first], [1.0])
    assert followed.shape == (3, 1)
    assert abs(followed[:, 0]) == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)
    assert runs.followed([first, np.zeros((6, 1))], [0.4, 0.6]).shape == (3, 0), "most families do not follow it"


def test_a_pull_moves_a_line_as_generalised_least_squares_does() -> None:
    """Plain least squares of the pull, by another formula: generalised least squares of what had fallen."""
    rows = table("effective_data", sizes=[3e5, 3e6], pretrain=[2e6, 2e7, 2e8], special=[0.0, 2e6])
    runs = Runs.of_table(rows, np.ones(12, bool))
    at = coordinates(runs.n, runs.d, runs.s, 1e5)
    kernel = kernel_of(np.log([2.0, 1.5, 0.5, 0.05]), 0.02**2)
    misfit = Correction(Process(kernel, at, np.zeros(12)), {}, 1e5)
    line = np.linalg.qr(np.column_stack([np.ones(12), np.log(runs.d)]))[0]
    everything = np.ones(12, bool)
    fallen = pulled(misfit, rows, everything, runs, np.eye(12), 5, np.random.default_rng(3))
    pull = pulled(misfit, rows, everything, runs, line, 5, np.random.default_rng(3))
    inverse = np.linalg.inv(kernel.between(at, at) + kernel.noise**2 * np.eye(12))
    expected = np.linalg.solve(line.T @ inverse @ line, line.T @ inverse @ fallen.T)
    np.testing.assert_allclose((pull @ line).T, expected, rtol=1e-4, atol=1e-9)
    assert fallen.std() == pytest.approx(np.hypot(0.02, kernel.noise), rel=0.5)


def test_rows_of_a_run_keep_their_noise_and_share_the_pull() -> None:
    rows = table("effective_data", sizes=[1e6], pretrain=[1e7], special=[0.0, 4e5], domains={"a": {}, "b": {}})
    order = np.argsort(rows.run, kind="stable")
    noise = np.zeros((1, 4))
    noise[0, order] = [0.01, 0.03, -0.02, -0.06]
    pull = np.zeros((1, 4))
    pull[0, order] = [0.5, 0.5, 0.7, 0.7]
    told = in_stretches(rows, np.ones(4, bool), noise, pull)
    assert told[0, order] == pytest.approx([0.49, 0.51, 0.72, 0.68])


def test_kernels_around_the_likeliest_have_the_spread_of_their_curvature() -> None:
    at, rng = some_points(40, 4), np.random.default_rng(4)
    truth = kernel_of(np.log([2.0, 1.0, 0.5, 0.01]), 0.02**2)
    values = np.linalg.cholesky(truth.between(at, at) + truth.noise**2 * np.eye(40)) @ rng.normal(size=40)
    found = likeliest(at, values, *AXES)
    assert found is not None
    lengths = np.log([each.parts[0].lengths[3] for each in found.others])
    assert abs(lengths.mean() - np.log(found.parts[0].lengths[3])) < 0.4
    assert 0.05 < lengths.std() < 1.0
    assert 0.1 < np.log([each.scale for each in found.others]).std() < 1.0
    assert not any(each.others for each in found.others)


def test_draws_are_shared_out_among_the_kernels() -> None:
    """Two kernels of very different size: every other draw is of either."""
    one, other = (Kernel((Part(scale, {0: 1.0}),), 1e-4) for scale in (0.01, 1.0))
    seen = Process(Kernel(one.parts, one.noise, (one, other)), np.zeros((1, 1)), np.zeros(1), np.zeros((400, 1)))
    far = seen.draws(np.array([[30.0]]))[:, 0]
    assert far[::2].std() == pytest.approx(0.01, rel=0.2)
    assert far[1::2].std() == pytest.approx(1.0, rel=0.2)


def test_a_law_without_a_misfit_pulls_nothing() -> None:
    law = dataclasses.replace(exact("effective_data"), table=table("effective_data", noise=0.01)).chosen
    assert law.correction is None
    assert law.pulled(5, np.random.default_rng(0)) is None
