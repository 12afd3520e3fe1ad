"""Named sizes are the sizes they name, and stand where a model stands."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from splitjax.config import Model, parse_count
from splitjax.config.presets import PRESETS
from splitjax.model import n_params


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_parameters_it_names(name: str) -> None:
    count = parse_count(name)
    assert n_params(Model.model_validate(name)) == pytest.approx(count, rel=0.08)
    if count >= 10_000_000:
        assert all(PRESETS[name][key] % 256 == 0 for key in ("d_model", "d_ff"))


def test_keys_beside_a_preset_replace_its_own() -> None:
    model = Model.model_validate({"preset": "122M", "n_layers": 3, "tied_embeddings": True})
    assert (model.d_model, model.n_layers, model.tied_embeddings) == (768, 3, True)


def test_a_resolved_model_names_its_sizes() -> None:
    told = Model.model_validate("1M").model_dump()
    assert told["d_model"] == 128
    assert "preset" not in told


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"no preset '1B'"):
        Model.model_validate("1B")
