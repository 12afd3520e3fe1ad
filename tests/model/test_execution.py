"""How the model is run changes neither loss nor gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from splitjax import config
from splitjax.config import UserError
from splitjax.model import LanguageModel

from .conftest import VOCAB

SETTINGS: list[dict[str, Any]] = [
    {"layers": "scan"},
    {"loss_blocks": 8},
    *({"layers": "scan", "remat": remat} for remat in ("full", "dots", "dots_no_batch", "offload")),
    {"layers": "unroll", "remat": "full"},
]


def _step(model: LanguageModel) -> Any:
    return jax.jit(jax.value_and_grad(model.loss, has_aux=True))


@pytest.fixture(scope="module")
def wanted(model: LanguageModel, params: Any, tokens_BT: np.ndarray) -> Any:
    return _step(model)(params, tokens_BT)


@pytest.mark.parametrize("change", SETTINGS, ids=lambda change: "-".join(map(str, change.values())))
def test_settings_give_equal_losses_and_gradients(
    model: LanguageModel, params: Any, tokens_BT: np.ndarray, wanted: Any, change: dict[str, Any]
) -> None:
    got = _step(dataclasses.replace(model, **change))(params, tokens_BT)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, wanted)


def _kept_by_forward(model: LanguageModel, params: Any, tokens_BT: np.ndarray) -> tuple[int, int]:
    """Elements that the forward scan hands to the backward one, and how many of them wait on the host."""
    traced = jax.make_jaxpr(jax.grad(lambda p, t: model.loss(p, t)[0]))(params, tokens_BT)
    forward = next(equation for equation in traced.jaxpr.eqns if equation.primitive.name == "scan")
    stacked = [value.aval for value in forward.outvars[forward.params["num_carry"] :]]
    return sum(aval.size for aval in stacked), sum(aval.size for aval in stacked if "<host>" in str(aval))


def test_remat_keeps_what_it_names(model: LanguageModel, params: Any, tokens_BT: np.ndarray) -> None:
    def kept(remat: Any) -> tuple[int, int]:
        changed = dataclasses.replace(model, layers="scan", remat=remat)
        return _kept_by_forward(changed, params, tokens_BT)

    B, S, D = tokens_BT.shape[0], tokens_BT.shape[1] - 1, model.cfg.d_model
    inputs = B * S * D * model.cfg.n_layers
    full, no_batch, dots, everything = (kept(remat)[0] for remat in ("full", "dots_no_batch", "dots", "none"))
    assert full < 1.5 * inputs < no_batch < dots < everything
    # Block input, query, attention: D each here; key and value D/2; gate and up F.
    offloaded = inputs * (3 * D + 2 * D // 2 + 2 * model.cfg.width_of_ffn) // D
    assert kept("offload")[1] == offloaded


def test_scan_traces_one_block(model: LanguageModel, params: Any, tokens_BT: np.ndarray) -> None:
    def products(layers: Any) -> int:
        changed = dataclasses.replace(model, layers=layers)
        return str(jax.make_jaxpr(changed.token_losses)(params, tokens_BT)).count("dot_general")

    assert products("scan") < products("unroll")


def test_blocks_must_divide_the_window(model: LanguageModel, params: Any, tokens_BT: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"train.loss_blocks: 7 does not divide seq_len=80"):
        dataclasses.replace(model, loss_blocks=7).loss(params, tokens_BT)


def test_the_recipe_reaches_the_model() -> None:
    keys: dict[str, Any] = {
        "base_width": 64, "precision": "bfloat16", "z_loss": 0.5, "attention": "splash", "layers": "scan",
        "remat": "dots", "loss_blocks": 4,
    }  # fmt: skip
    model = LanguageModel.under(config.Train(**keys), config.Model(), VOCAB)
    assert model == LanguageModel(config.Model(), VOCAB, **keys)


def test_the_kernel_that_is_named_is_the_one_that_runs(model: LanguageModel, params: Any) -> None:
    def traced(attention: Any) -> str:
        changed = dataclasses.replace(model, attention=attention)
        return str(jax.make_jaxpr(changed.token_losses)(params, np.ones((1, 129), np.int32)))

    assert "pallas_call" in traced("splash")
    assert traced("auto") == traced("xla")  # on anything but a TPU
