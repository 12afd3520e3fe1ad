"""The count of a layer's bytes, on programs written by hand; compiling for CUDA needs wheels that tests do without."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from splitjax.config import Model
from splitjax.parallel import Program

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import bench_passes  # isort: skip

TOKENS = 2 * bench_passes.LENGTH
STEP = f"""
ENTRY %main (x: bf16[{TOKENS},64], w: bf16[64,64]) -> bf16[{TOKENS},64] {{
  %x = bf16[{TOKENS},64]{{1,0}} parameter(0)
  %w = bf16[64,64]{{1,0}} parameter(1)
  %table = f32[{bench_passes.LENGTH},32]{{1,0}} constant({{...}})
  %normed = bf16[{TOKENS},64]{{1,0}} custom-call(%x, %table), custom_call_target="__gpu$xla.gpu.triton"
  %made = bf16[{TOKENS},64]{{1,0}} custom-call(%normed, %w), custom_call_target="__cublas$lt$matmul"
  %seen = bf16[{TOKENS},64]{{1,0}} custom-call(%made), custom_call_target="opaque_attention"
  ROOT %moved = bf16[{TOKENS},64]{{0,1}} copy(%seen)
}}
"""


def test_arrays_of_tokens_count_and_weights_and_tables_do_not() -> None:
    found = {kernel.kind: kernel.tokens for kernel in bench_passes.counted(Program(STEP), TOKENS)}
    assert found == dict.fromkeys(("own kernels", "products", "attention", "copies"), 2 * 64 * 2.0)


@pytest.mark.parametrize(("qk_norm", "arrays"), [(False, 8 * 2.75 + 4 * 2 + 12), (True, 8 * 2.75 + 5 * 2 + 12)])
def test_the_least_that_a_layer_of_1_3b_moves(qk_norm: bool, arrays: float) -> None:
    model = Model.model_validate("1.3B").model_copy(update={"qk_norm": qk_norm})
    assert bench_passes.floor(model) == pytest.approx(arrays * 2 * model.d_model)


def test_the_opaque_attention_has_gradients_of_the_shape_of_its_inputs() -> None:
    q, k = jnp.ones((1, 4, 4, 8), jnp.bfloat16), jnp.ones((1, 4, 2, 8), jnp.bfloat16)

    def pulled(q: jax.Array, k: jax.Array) -> tuple[jax.Array, ...]:
        out, pull = jax.vjp(lambda q, k, v: bench_passes.opaque_attention(q, k, v, q), q, k, k)
        return pull(out)

    assert [one.shape for one in jax.eval_shape(pulled, q, k)] == [q.shape, k.shape, k.shape]
