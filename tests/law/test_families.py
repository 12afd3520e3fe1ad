"""Families compute what their formulas say, in any unit, and know their corners."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.law import FAMILIES
from splitjax.law.fitting.families import effective, family_named
from splitjax.law.fitting.fitted import public_parameters
from splitjax.law.fitting.scale import Reference

from .synthetic import TRUTHS, exact, formula

TOKENS = st.floats(1e4, 1e13)


@pytest.mark.parametrize("family", FAMILIES)
@given(n=st.floats(1e4, 1e12), d=TOKENS, s=TOKENS)
def test_predictions_are_the_formula(family: str, n: float, d: float, s: float) -> None:
    expected = formula(family, TRUTHS[family], np.float64(n), np.float64(d), np.float64(s))
    assert exact(family).predict(n, d, s) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_law_means_the_same_in_any_units(family: str) -> None:
    law = exact(family)
    fitted = law.families[0]
    form, x = fitted.forms[0], fitted.xs[0]
    for name, (value, _) in public_parameters(form, fitted.reference, x[None], 0).items():
        assert value[0] == pytest.approx(TRUTHS[family][name])
    ref = Reference(14.0, 16.0)  # the same numbers read as units of exp(14), …: parameters change to match
    moved = {name: float(v[0]) for name, (v, _) in public_parameters(form, ref, x[None], 0).items()}
    n, d, s = (np.exp(v) for v in (14.3, 15.0, 16.2))
    rows = ref.rows(n, np.array([d]), np.array([s]))
    assert form.losses(x[None], rows, 0)[0, 0] == pytest.approx(float(formula(family, moved, n, d, s)), rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("d", "s"), [(0.0, 1e6), (1e6, 0.0), (0.0, 0.0), (1e6, 1e6)])
def test_a_family_knows_its_corners(family: str, d: float, s: float) -> None:
    finite = bool(FAMILIES[family].finite(np.float64(d), np.float64(s)))
    value = float(formula(family, TRUTHS[family], np.float64(1e6), np.float64(d), np.float64(s)))
    assert finite == np.isfinite(value)
    assert np.isfinite(exact(family).predict(1e6, d, s)) == finite


def test_every_linear_parameter_has_a_column() -> None:
    for family in FAMILIES.values():
        p = {parameter.name: 0.4 for parameter in family.nonlinear}
        columns = family.columns(np, p, np.array([1.0]), np.array([2.0]), np.array([3.0]))
        assert len(columns) == len(family.linear)
        assert all(part in family.formula for part in family.linear)


@given(unique=st.floats(1, 1e9), epochs=st.floats(1, 100), half_life=st.floats(0.1, 1000))
def test_effective_tokens_saturate(unique: float, epochs: float, half_life: float) -> None:
    tokens = unique * epochs
    got = float(np.exp(effective(np, np.log(tokens), epochs - 1, np.log(half_life))))
    expected = unique * (1 + half_life * (1 - np.exp(-(epochs - 1) / half_life)))
    assert got == pytest.approx(expected, rel=1e-9)
    assert unique * (1 - 1e-9) <= got <= tokens * (1 + 1e-9)


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(UserError, match=r"no law family 'chinchila'.*Did you mean 'chinchilla'"):
        family_named("chinchila")
