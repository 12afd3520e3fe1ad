"""The folding of experts into cuDNN's batch, and what it refuses; the kernel itself needs a GPU."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax import config
from splitjax.config import UserError
from splitjax.model import LanguageModel, attention, cudnn, cudnn_calls, packed
from splitjax.model.backends import attention_of
from splitjax.parallel import make_mesh
from splitjax.train import Trainer

from .test_attention import by_definition

E, B, S, H, N, X = 3, 2, 16, 4, 2, 8


def _inputs(dtype: Any = jnp.float32) -> tuple[Any, ...]:
    keys = jax.random.split(jax.random.key(0), 5)
    q, g = (jax.random.normal(key, (E, B, S, H, X), dtype) for key in keys[:2])
    k, v = (jax.random.normal(key, (E, B, S, N, X), dtype) for key in keys[2:4])
    return q, k, v, g, attention.documents(jax.random.randint(keys[4], (E, B, S), 0, 6))


def _pass(attend: Any) -> Any:
    def both(q: Any, k: Any, v: Any, g: Any, document: Any) -> Any:
        value, pull = jax.vjp(lambda *qkv: attend(*qkv, document), q, k, v)
        return value, pull(g)

    return both


@pytest.mark.parametrize("fused", [by_definition, attention.attend], ids=["definition", "own gradient"])
def test_experts_fold_into_one_call_that_gives_what_each_would(fused: Any) -> None:
    called: list[tuple[int, ...]] = []

    def spy(q: Any, *rest: Any) -> Any:
        called.append(q.shape)
        return fused(q, *rest)

    inputs = _inputs()
    got = jax.jit(jax.vmap(_pass(cudnn.folded(spy))))(*inputs)
    wanted = jax.vmap(_pass(by_definition))(*inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, wanted)
    assert (E * B, S, H, X) in called


def test_what_the_experts_share_is_spread() -> None:
    q, k, v, g, document = _inputs()
    shared = jax.vmap(_pass(cudnn.folded(by_definition)), in_axes=(0, 0, 0, 0, None))
    got = jax.jit(shared)(q, k, v, g, document[0])
    wanted = jax.vmap(_pass(by_definition))(q, k, v, g, jnp.broadcast_to(document[0], document.shape))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, wanted)


@pytest.mark.parametrize(
    ("length", "width", "dtype", "cap", "why"),
    [(16, 8, jnp.float32, None, "train.precision=bfloat16"), (16, 12, jnp.bfloat16, None, "multiple of 8 up to 128"),
     (16, 256, jnp.bfloat16, None, "not 256"), (15, 8, jnp.bfloat16, None, "even length, not 15"),
     (16, 8, jnp.bfloat16, 50.0, "no soft cap")],
)
def test_what_it_cannot_do_is_refused(length: int, width: int, dtype: Any, cap: float | None, why: str) -> None:
    x = jnp.zeros((1, length, 2, width), dtype)
    with pytest.raises(UserError, match=rf"train.attention: .*{why}"):
        cudnn.attend(x, x, x, jnp.zeros((1, length), jnp.int32), cap)


@pytest.mark.parametrize(
    ("dtype", "cap", "chosen"),
    [(jnp.bfloat16, None, "cudnn"), (jnp.float32, None, "xla"), (jnp.bfloat16, 50.0, "xla")],
)
def test_on_a_gpu_it_is_chosen_where_it_can(
    dtype: Any, cap: float | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(cudnn, "attend", lambda *_: "cudnn")
    monkeypatch.setattr(attention, "attend", lambda *_: "xla")
    x = jnp.zeros((1, 16, 2, 8), dtype)
    assert attention_of("auto", cap)(x, x, x, jnp.zeros((1, 16), jnp.int32)) == chosen


@pytest.fixture
def on_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is not there: only the questions that would be asked of it are answered."""
    fused = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused, "check_compute_capability", lambda _: True)
    monkeypatch.setattr(fused, "is_cuda_compute_capability_equal", lambda _: False)
    monkeypatch.setattr(cudnn_calls, "compute_capability", lambda: (9, 0))


def _kernel_calls(text: str) -> list[str]:
    return [line for line in text.splitlines() if "__cudnn$fmha" in line]


def test_a_stack_s_step_lowers_to_one_kernel_call_forward_and_one_backward(
    on_hopper: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On cards before Hopper, under the mask."""
    monkeypatch.setattr(cudnn_calls, "compute_capability", lambda: (8, 0))
    step = jax.jit(jax.vmap(_pass(cudnn.attend), spmd_axis_name="expert"))
    with jax.set_mesh(make_mesh()):
        text = step.trace(*_inputs(jnp.bfloat16)).lower(lowering_platforms=("cuda",)).as_text()
    calls = _kernel_calls(text)
    assert ["Backward" in line for line in calls] == [False, True]
    assert all(f"{E * B}x{S}x{H}x{X}xbf16" in line for line in calls)


def test_on_hopper_a_stack_s_step_has_a_call_for_each_number_of_slots(on_hopper: None) -> None:
    step = jax.jit(jax.vmap(_pass(cudnn.attend), spmd_axis_name="expert"))
    with jax.set_mesh(make_mesh()):
        text = step.trace(*_inputs(jnp.bfloat16)).lower(lowering_platforms=("cuda",)).as_text()
    calls = _kernel_calls(text)
    # A window of 16 positions has room for 16 documents at most.
    rooms = [min(room, S) for room in packed.SLOTS]
    for back in (False, True):
        found = [line for line in calls if ("Backward" in line) == back]
        assert [int(re.findall(r'max_seg_per_batch\\22: (\d+)', line)[0]) for line in found] == [*rooms, 1]
        assert [line.count("ScaleBias") for line in found] == [0] * len(rooms) + [1]


def test_no_array_of_every_pair_of_positions_but_under_the_mask(
    on_hopper: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole training step of a stack of 8 at sequence 2048, lowered for a GPU."""
    shape = config.Model(d_model=64, n_layers=2, n_heads=2, d_ff=64)
    recipe = config.Train(seq_len=2048, batch_size=2, precision="bfloat16", attention="cudnn", expert_loop="vmap")

    def lowered() -> str:
        trainer = Trainer(LanguageModel.under(recipe, shape, 256), recipe)
        traced = trainer._step.trace(*trainer.shapes(8))
        return str(traced.lower(lowering_platforms=("cuda",)).as_text())

    assert "2048x2048x" in lowered()
    monkeypatch.setattr(cudnn_calls.Calls, "masked", lambda self, q, k, v, d: self.forward(q, k, v, None))
    monkeypatch.setattr(
        cudnn_calls.Calls, "masked_backward", lambda self, q, k, v, o, s, g, d: self.backward(q, k, v, o, s, g, None)
    )
    assert "2048x2048x" not in lowered()


def test_which_attention_runs_is_told(on_hopper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, train = config.Model(d_model=64, n_layers=1, n_heads=1), config.Train(precision="bfloat16", seq_len=128)
    model = LanguageModel.under(train, shape, 64)
    assert model.attention_words(8, 128) == "xla"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert model.attention_words(8, 128) == "cudnn, up to 64 packed documents a window"
    assert "counts elements up to 2^31" in model.attention_words(2**20, 128)
    monkeypatch.setattr(cudnn_calls, "compute_capability", lambda: (8, 0))
    assert model.attention_words(8, 128).startswith("cudnn, documents by a mask: it needs a GPU of compute capability")
    assert dataclasses.replace(model, precision="float32").attention_words(8, 128) == "xla"
    assert dataclasses.replace(model, attention="splash").attention_words(8, 128) == "splash"
