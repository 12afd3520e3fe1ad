"""Small models of the main model's kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import Model
from splitjax.config.presets import PRESETS
from splitjax.model import n_params
from splitjax.planning.small_models import LEAST_WIDTH, family, ladder, scaled

MAIN = [Model.model_validate(name) for name in PRESETS]


@pytest.mark.parametrize("model", MAIN, ids=list(PRESETS))
def test_a_family_grows_and_stays_below_its_model(model: Model) -> None:
    sizes = [n_params(each) for each in family(model)]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] < n_params(model)
    for each in family(model):
        assert each.d_model >= LEAST_WIDTH
        assert each.d_model % (64 if model.d_model >= 1024 else 16 if model.d_model >= 256 else 4) == 0
        assert (each.n_layers >= 2) == (model.n_layers >= 2)
        assert each.qk_norm == model.qk_norm


def test_depth_and_width_shrink_together() -> None:
    main = Model.model_validate("2.7B")  # 34 layers, 2560 wide, heads of 128, an FFN 2.7 times as wide
    small = scaled(main, 640)
    assert (small.n_layers, small.n_heads, small.width_of_head, small.d_ff) == (8, 5, 128, 1728)
    assert scaled(main, 128).n_layers == 2
    assert scaled(Model(d_model=48, n_layers=1, n_heads=2), 24).n_layers == 1


@given(st.integers(2, 60), st.sampled_from([1, 2, 4]), st.integers(1, 12))
def test_every_width_has_whole_heads_in_whole_groups(quarter: int, groups: int, layers: int) -> None:
    main = Model(d_model=1024, n_layers=layers, n_heads=16, n_kv_heads=16 // groups)
    small = scaled(main, 4 * quarter)
    assert small.n_heads * small.width_of_head == small.d_model
    assert small.n_heads % small.kv_heads == 0
    assert small.width_of_head % 2 == 0


def test_a_ladder_is_even_in_the_logarithm() -> None:
    models = family(Model.model_validate("1.3B"))
    steps = ladder(models, len(models) - 1, 3)
    assert steps is not None
    low, middle, high = (n_params(each) for each in steps)
    assert high == n_params(models[-1])
    assert 3 < high / low < 5
    assert 0.8 < middle**2 / (low * high) < 1.25
    assert ladder(models, 1, 3) is None, "two models are no three"
