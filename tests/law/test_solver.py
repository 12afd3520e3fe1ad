"""The batched solver against scipy, against known truths, and against its own options."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import lsq_linear

from splitjax.law import FAMILIES, Table
from splitjax.law.fitting import scipy_search as scipy_path
from splitjax.law.fitting.engine import Problem
from splitjax.law.fitting.solver import Loss, _Local, _local, _newton_step, _nnls

from .synthetic import TRUTHS, table

HUBER, SQUARED = Loss("huber", 1e-3), Loss("squared", 1e-3)


def solve(data: Table, family: str, loss: Loss = HUBER, starts: int = 32):
    problem = Problem(data, FAMILIES[family])
    return problem, problem.search(loss, data.weight[None], starts, np.random.default_rng(0))[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_noise_free_law_is_recovered(family: str) -> None:
    data = table(family)
    problem, found = solve(data, family)
    predicted = problem.predict([x[None] for x in found.xs])[0]
    np.testing.assert_allclose(predicted[problem.usable], data.loss[problem.usable], rtol=2e-6)


@pytest.mark.parametrize(
    ("family", "loss"),
    [
        pytest.param("effective_data", HUBER, id="effective_data-huber"),
        pytest.param("blending", SQUARED, id="blending-squared"),
        pytest.param("effective_data", SQUARED, id="effective_data-squared", marks=pytest.mark.slow),
        pytest.param("blending", HUBER, id="blending-huber", marks=pytest.mark.slow),
    ],
)
def test_no_scipy_start_does_better(family: str, loss: Loss) -> None:
    data = table(family, noise=0.02)
    problem, found = solve(data, family, loss)
    other = scipy_path.search(problem, loss, data.weight, 8, np.random.default_rng(1))
    assert found.objective <= other.objective * (1 + 1e-6)
    assert found.objective >= other.objective * (1 - 1e-3)  # they minimise the same thing
    assert found.agree > 4


def test_a_wrong_family_still_ends_at_its_optimum() -> None:
    data = table("effective_data", noise=0.01, special=(4e5, 2e6, 1e7))
    problem, found = solve(data, "additive", starts=64)
    other = scipy_path.search(problem, HUBER, data.weight, 8, np.random.default_rng(1))
    assert found.objective <= other.objective * (1 + 1e-6)


def test_a_weight_of_zero_removes_a_row() -> None:
    data = table("effective_data")
    wild = Table(**{**vars(data), "loss": np.where(np.arange(len(data)) == 7, 9.0, data.loss)})
    problem = Problem(wild, FAMILIES["effective_data"])
    weights = np.ones((2, len(data)))
    weights[1, 7] = 0.0
    kept, removed = problem.search(SQUARED, weights, 32, np.random.default_rng(0))
    assert removed.objective < 1e-9 < kept.objective


def test_domains_share_exponents_and_nothing_else() -> None:
    data = table("effective_data", domains={"law": {"E": 1.2, "k": 0.7}, "code": {"E": 1.9, "B": 200}})
    problem, found = solve(data, "effective_data")
    form, x = problem.forms[0], found.xs[0]
    assert form.size == 2 * 4 + 3
    by_name = {name: x[form.index[:, i]] for i, name in enumerate(form.names)}
    assert by_name["g"][0] == by_name["g"][1] == pytest.approx(TRUTHS["effective_data"]["g"], rel=1e-3)
    assert np.exp(by_name["k"][0] - by_name["k"][1]) == pytest.approx(0.7 / 1.6, rel=1e-3)
    assert problem.predict([x[None]])[0] == pytest.approx(data.loss, rel=1e-6)


def test_a_law_is_fitted_without_jax() -> None:
    """An accelerator of the training process is left alone, and nothing is compiled."""
    code = "import sys, tests.law.synthetic as s, splitjax.law as l; l.fit(s.table('chinchilla'), bootstrap=4); " \
           "sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nnls_is_exact() -> None:
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 12, 4)), rng.normal(size=(40, 12))
    got = _nnls(a.swapaxes(1, 2) @ a, (a.swapaxes(1, 2) @ b[..., None])[..., 0])
    for one, other, found in zip(a, b, got, strict=True):
        np.testing.assert_allclose(found, nnls(one, other)[0], atol=1e-8)


def test_the_reference_runs_on_the_host_whatever_is_default(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = jax.local_devices
    monkeypatch.setattr(jax, "local_devices", lambda **options: asked.append(options) or real(**options))
    with scipy_path.on_host():
        assert jnp.ones(2).dtype == jnp.float64
        assert next(iter(jnp.ones(2).devices())).platform == "cpu"
    assert asked == [{"backend": "cpu"}]
    assert jnp.ones(2).dtype == jnp.float32


def test_a_step_in_a_box_ends_where_the_quadratic_is_least_in_it() -> None:
    """Beside scipy's bounded least squares, where the free step leaves the box by one side, as the answer does too."""
    rng, compared = np.random.default_rng(3), set()
    for _ in range(60):
        a = rng.normal(size=(6, 3)) * [1.0, 4.0, 0.3]
        b, x = rng.normal(size=6), np.array([0.2, -0.1, 0.4])
        low, high = x - np.array([0.05, 0.4, 2.0]), x + np.array([0.9, 0.02, 0.3])
        hessian, gradient = (a.T @ a)[None], (a.T @ (a @ x - b))[None]
        local = _Local(np.zeros(1), gradient, hessian, hessian)
        found = _newton_step(local, x[None], low[None], high[None], np.array([1e-9]))[0]
        assert np.all((low <= found) & (found <= high))
        expected, free = lsq_linear(a, b, (low, high), tol=1e-14).x, np.linalg.lstsq(a, b, rcond=None)[0]
        sides = [np.where(at <= low + 1e-9, -1, np.where(at >= high - 1e-9, 1, 0)) for at in (expected, free)]
        if np.array_equal(*sides) and np.abs(sides[0]).sum() == 1:
            assert found == pytest.approx(expected, abs=1e-5)
            compared.add(tuple(sides[0].tolist()))
    assert len(compared) >= 3, "upper and lower bounds, of several unknowns"


def test_the_majorizer_weighs_far_rows_by_their_distance() -> None:
    """Huber: w · min(1, delta / |r|) of each row's squared slopes; slopes by differences."""
    rows, delta = table("effective_data", noise=0.01, seed=2), 0.008
    problem, solved = solve(rows, "effective_data", starts=8)
    (form,), (x,) = problem.forms, solved.xs
    weights = 1.0 + np.arange(len(rows)) % 3
    (part,) = problem.parts
    found = _local(form, "huber", problem.data(part, rows.loss[None], weights[None]), x[None], np.array([delta]))
    at = problem.reference.rows(rows.n_params, rows.d_pretrain, rows.d_special, None, None)
    r = np.log(form.losses(x[None], at, 0)[0] / rows.loss)
    slopes, far = form.slopes(x, at, 0), weights * np.minimum(1.0, delta / np.abs(r))
    assert 0.2 < np.mean(np.abs(r) > delta) < 0.8
    assert found.major[0] == pytest.approx(slopes.T @ (far[:, None] * slopes), rel=1e-4, abs=1e-8)
    assert found.gradient[0] == pytest.approx(slopes.T @ (weights * np.clip(r, -delta, delta)), rel=1e-4, abs=1e-8)
