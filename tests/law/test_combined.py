"""One law of several families: how they are weighed, what is said at the corners, and how draws are combined."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.law import LawFit, Table, fit, plan
from splitjax.law.fitting import selection
from splitjax.law.fitting.combined import Combined

from .synthetic import exact, table

ROWS = table("blending", noise=0.01, pretrain=(0.0, 2e6, 6e6, 2e7, 6e7))


@pytest.fixture(scope="module")
def law() -> LawFit:
    return fit(ROWS, bootstrap=30)


def pair(draws: int = 0) -> tuple[LawFit, LawFit, Combined]:
    """Two known laws and the two as one, uncorrected: the table is too small to tell a misfit."""
    one, other = (exact(name, draws=draws, spread=0.01) for name in ("effective_data", "two_skills"))
    few = table("effective_data").select(np.arange(len(table("effective_data"))) < 6)
    return one, other, Combined((one.families[0], other.families[0]), (0.7, 0.3), few)


def test_predictions_are_weighted_geometric_means() -> None:
    one, other, both = pair()
    at = (3e6, np.array([1e7, 0.0, 1e8]), np.array([1e6, 2e6, 0.0]))
    a, b = (law.families[0].losses(*at, "") for law in (one, other))
    np.testing.assert_allclose(both.losses(*at, ""), a**0.7 * b**0.3, rtol=1e-12)


def test_a_draw_is_that_of_one_family_where_no_misfit_is_told() -> None:
    one, other, both = pair(draws=20)
    vars(both)["allowance"] = None
    at = (3e6, np.array([1e7, 1e8]), np.array([1e6, 0.0]))
    a, b = (law.families[0].losses(*at, "", draws=True) for law in (one, other))
    told = both.losses(*at, "", draws=True)
    first = np.all(told == a, 1)
    assert both.drawn == 20
    assert first.sum() == 14, "in proportion to the weights"
    assert (told[~first] == b[~first]).all()


def test_draws_are_combined_one_by_one_where_a_misfit_is() -> None:
    one, other, both = pair(draws=20)
    rows = table("effective_data")
    off = 0.02 * np.sin(2 * np.log(rows.d_pretrain)) * np.cos(np.log(rows.n_params))
    both = dataclasses.replace(both, table=dataclasses.replace(rows, loss=both.on(rows) * np.exp(off)))
    assert both.correction is not None
    at = (3e6, np.array([1e7, 1e8]), np.array([1e6, 0.0]))
    a, b = (law.families[0].losses(*at, "", draws=True) for law in (one, other))
    factor = np.exp(both.correction.at(*at, draws=True))
    np.testing.assert_allclose(both.losses(*at, "", draws=True), a**0.7 * b**0.3 * factor, rtol=1e-12)


def test_the_noise_falls_alike_for_all_families(law: LawFit) -> None:
    at = (1e7, np.array([2e7]), np.array([2e6]))
    draws = [law.named(name).losses(*at, "", draws=True)[:, 0] for name in law.weights]
    assert np.corrcoef(draws[0], draws[1])[0, 1] > 0.8


def test_families_count_by_their_error_to_minus_four() -> None:
    found = selection.weights([0.01, 0.02, 0.05])
    assert found == pytest.approx(np.array([16.0, 1.0, 0.0]) / 17)  # 5^-4 is less than a hundredth of the whole
    assert selection.weights([0.0, 0.01]) == pytest.approx([1.0, 0.0])
    assert selection.weights([0.0, 0.0]) == pytest.approx([0.5, 0.5])


def test_errors_are_those_of_run_means() -> None:
    rows = Table.from_rows(
        {"n_params": 1e6, "d_pretrain": d, "loss": loss, "domain": g, "run": f"{d}"}
        for d in (1e7, 2e7) for g, loss in (("a", 2.0), ("b", 4.0))
    )
    test = rows.d_pretrain == 2e7
    told = np.array([9.0, 9.0, 2.3, 3.4])  # +0.3 and -0.6 of a mean of 3
    found = selection.run_errors(rows, {"d": test}, {"d": told}, np.ones(4, bool))
    assert found == pytest.approx([0.05])


def test_one_family_speaks_alone_where_it_is_asked(law: LawFit) -> None:
    alone = fit(ROWS, "hernandez", bootstrap=0)
    assert (alone.family, alone.weights) == ("hernandez", {"hernandez": 1.0})
    assert alone.summary()["formula"] == alone.families[0].formula
    told = law.summary()
    assert told["family"] == "combined"
    assert all(name in told["formula"] for name in law.weights)
    assert told["parameters_of"] == next(iter(law.weights))
    some = fit(ROWS, ["multiplicative", "effective_data"], bootstrap=0)
    assert some.weights == {"effective_data": 1.0}
    assert [each.name for each in some.families] == ["effective_data", "multiplicative"]


def test_a_law_of_n_and_d_alone_is_combined_too() -> None:
    columns = table("chinchilla", noise=0.005, special=(0.0,)).to_json()
    del columns["d_special"]
    found = fit(Table.from_json(columns), bootstrap=0)
    assert set(found.weights) <= {"chinchilla", "coupled"}
    assert found.predict(3e7, 1e9) == pytest.approx(exact("chinchilla").predict(3e7, 1e9), rel=0.02)


@settings(max_examples=40, deadline=None)
@given(
    n=st.floats(3e5, 1e8), tokens=st.floats(1e7, 3e9), experts=st.integers(1, 32),
    accounting=st.sampled_from(["total", "per_model"]), corner=st.sampled_from([0.0, 1.0]),
)
def test_the_curve_is_continuous_at_both_corners(
    law: LawFit, n: float, tokens: float, experts: int, accounting: str, corner: float
) -> None:
    from splitjax.law import Budget
    from splitjax.law.splitting.view import View

    view = View(law.chosen, Budget(n, tokens, experts, accounting), {"": 1.0})
    fraction = np.abs(corner - np.array([0.0, 1e-12, 1e-9]))
    for draws in (False, True):
        losses = view.loss(fraction, draws=draws)
        assert np.isfinite(losses).all()
        assert np.abs(losses[:, 1:] / losses[:, :1] - 1).max() < 2e-3


def test_every_family_has_its_own_word_in_a_plan(law: LawFit) -> None:
    found = plan(law, 3e7, 1e9, 8)
    assert found.family == "combined"
    assert set(found.by_family) == {each.name for each in law.families}
    for name, told in found.by_family.items():
        assert told["weight"] == law.weights.get(name, 0.0)
    own = plan(fit(ROWS, "blending", bootstrap=0), 3e7, 1e9, 8)
    assert own.family == "blending"
    assert found.by_family["blending"]["split_fraction"] == pytest.approx(own.split_fraction, abs=0.01)


def test_a_family_that_is_unknown_is_refused_by_the_version(law: LawFit, tmp_path) -> None:
    from splitjax.config import read_json, write_json

    path = tmp_path / "law.json"
    law.save(path)
    tree = read_json(path)
    write_json(path, tree | {"version": 2, "solutions": [{"family": "shifted"}]})
    with pytest.raises(UserError, match=r"not a law of version 3 \(this one: 2"):
        LawFit.load(path)
