"""How the model is run changes neither loss nor gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import pytest

from splitjax import config
from splitjax.config import UserError
from splitjax.model import LanguageModel, cudnn, splash
from splitjax.train import Trainer

from .conftest import VOCAB
from .test_attention import by_definition

SETTINGS: list[dict[str, Any]] = [
    {"attention": "splash"},
    {"attention": "cudnn"},
    {"layers": "scan"},
    {"layers": "scan", "attention": "cudnn"},
    {"loss_blocks": 8},
    {"microbatches": 2},
    *({"layers": "scan", "remat": remat} for remat in ("full", "dots", "dots_no_batch", "offload")),
    {"layers": "unroll", "remat": "full", "attention": "cudnn"},
    {"layers": "scan", "remat": "full", "loss_blocks": 2, "microbatches": 4},
]
CAPS: dict[str, float] = {"attention_cap": 0.5, "logit_cap": 2.0}
SHAPES = {name: config.Model(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, **caps)
          for name, caps in (("plain", {}), ("caps", CAPS))}
TRAIN = config.Train(batch_size=4, seq_len=128, z_loss=1e-2, base_width=16)


@cache
def _params(shape: config.Model) -> Any:
    return jax.jit(LanguageModel.under(TRAIN, shape, VOCAB).init)(jax.random.key(0))


def _gradients(shape: config.Model, change: dict[str, Any]) -> Any:
    """Objective, loss and gradients of a batch of four windows, as the step takes them."""
    # Precision is a matter of the kernels, which stand in here; the test below is about what a recipe accepts.
    train = TRAIN.model_copy(update=change)
    model = LanguageModel.under(train, shape, VOCAB)
    tokens_BT = np.random.default_rng(0).integers(0, VOCAB, (4, 129), np.int32)
    return jax.jit(Trainer(model, train)._gradients)(_params(shape), tokens_BT)


@cache
def _wanted(shape: config.Model) -> Any:
    return _gradients(shape, {})


def _cases() -> Iterator[Any]:
    """Each setting by default under the caps, which are more to get wrong; without them where the kernel has none."""
    for change in SETTINGS:
        for name in SHAPES:
            twice = name == "plain" and change.get("attention") != "cudnn"
            words = "-".join(map(str, change.values()))
            yield pytest.param(name, change, id=f"{name}-{words}", marks=pytest.mark.slow if twice else ())


@pytest.mark.parametrize(("name", "change"), list(_cases()))
def test_settings_give_equal_losses_and_gradients(
    name: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = SHAPES[name]
    if change.get("attention") == "cudnn":
        if shape.attention_cap:
            with pytest.raises(UserError, match="it has no soft cap"):
                _gradients(shape, change)
            return
        # All but the kernel itself: its place is taken by the definition.
        monkeypatch.setattr(cudnn, "_packed_or_masked", by_definition)
        monkeypatch.setattr(cudnn, "unfit", lambda *_: None)
    monkeypatch.setattr(splash, "attend", partial(splash.attend, interpret=True))
    got = _gradients(shape, change)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), got, _wanted(shape))


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
    }
    model = LanguageModel.under(config.Train(**keys), config.Model(), VOCAB)
    assert model == LanguageModel(config.Model(), VOCAB, **keys)


def test_the_kernel_that_is_named_is_the_one_that_runs(model: LanguageModel, params: Any) -> None:
    def traced(attention: Any) -> str:
        changed = dataclasses.replace(model, attention=attention)
        return str(jax.make_jaxpr(changed.token_losses)(params, np.ones((1, 129), np.int32)))

    assert "pallas_call" in traced("splash")
    assert traced("auto") == traced("xla")  # on anything but a TPU
