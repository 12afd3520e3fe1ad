"""What only a GPU can show: the fused kernels themselves. Skipped where there is none.

    XLA_FLAGS= python -m pytest tests/model/test_on_gpu.py
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax import config
from splitjax.model import LanguageModel, attention, cudnn, cudnn_calls, packed
from splitjax.model.kernels import calls as own
from splitjax.parallel import make_mesh
from splitjax.planning import kernel_times
from splitjax.train import Trainer

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU")
S = 2048


def _documents(counts: list[int]) -> Any:
    """Windows of so many documents each, cut at random."""
    made, opens = np.random.default_rng(0), np.zeros((len(counts), S), np.int32)
    for row, count in zip(opens, counts, strict=True):
        row[made.choice(np.arange(1, S), count - 1, replace=False)] = 1
    return jnp.asarray(np.cumsum(opens, axis=1), jnp.int32)


def _inputs(*leading: int, heads: int, kv_heads: int, width: int) -> list[Any]:
    keys = jax.random.split(jax.random.key(1), 4)
    counts = (heads, kv_heads, kv_heads, heads)
    return [jax.random.normal(key, (*leading, S, n, width), jnp.bfloat16) for key, n in zip(keys, counts, strict=True)]


@cache
def _both(attend: Any) -> Any:
    """Value and gradients, compiled once: documents are data."""

    def run(q: Any, k: Any, v: Any, g: Any, document: Any) -> Any:
        value, pull = jax.vjp(lambda *qkv: attend(*qkv, document), q, k, v)
        return value, *pull(g)

    return jax.jit(run)


def _apart(got: Any, wanted: Any) -> float:
    """The largest relative distance among value and gradients."""
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(got, wanted, strict=True)]
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)


@cache
def _packed() -> Any:
    calls = cudnn_calls.calls()
    assert isinstance(calls, cudnn_calls.Calls)
    return packed.attention(calls)


@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(4, 4, 128), (8, 2, 64)])
@pytest.mark.parametrize("counts", [[1, 1], [1, 3], [5, 2], [12, 1], [20, 10], [60, 33], [60, 60], [400, 2]], ids=str)
def test_packed_documents_are_within_2_percent_of_float32(
    counts: list[int], heads: int, kv_heads: int, width: int
) -> None:
    """Every number of slots, and the mask beyond the last."""
    inputs, document = _inputs(2, heads=heads, kv_heads=kv_heads, width=width), _documents(counts)
    exact = _both(attention.attend)(*(x.astype(jnp.float32) for x in inputs), document)
    got = _both(_packed())(*inputs, document)
    assert _apart(got, exact) < 0.02
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in got)


def test_experts_are_folded_under_a_mesh() -> None:
    inputs = _inputs(3, 2, heads=4, kv_heads=2, width=64)
    document = jnp.stack([_documents(counts) for counts in ([1, 1], [4, 9], [2, 30])])
    with jax.set_mesh(make_mesh()):
        got = _both(jax.vmap(cudnn.attend, spmd_axis_name="expert"))(*inputs, document)
    exact = _both(jax.vmap(attention.attend))(*(x.astype(jnp.float32) for x in inputs), document)
    assert _apart(got, exact) < 0.02


@cache
def _trained(**changes: Any) -> tuple[np.ndarray, Trainer]:
    """Losses of 12 steps of a stack of two over text with documents."""
    shape = config.Model(d_model=256, n_layers=2, n_heads=4, d_ff=512)
    recipe = config.Train(seq_len=512, batch_size=4, precision="bfloat16", expert_loop="vmap")
    recipe = recipe.model_copy(update=changes)
    trainer = Trainer(LanguageModel.under(recipe, shape, 1024), recipe)
    made, stack, losses = np.random.default_rng(0), trainer.init([0, 1]), []
    for _ in range(12):
        tokens = np.cumsum(made.integers(0, 3, (2, 4, 513)), axis=-1).astype(np.int32) % 1024
        stack, metrics = trainer.step(stack, jnp.asarray(tokens), trainer.controls(np.full(2, 4e-3), 2048))
        losses.append(np.asarray(metrics.loss_K))
    return np.stack(losses), trainer


def test_training_with_the_kernels_is_training_without() -> None:
    packed_, trainer = _trained()
    assert trainer.model.attention_words(8, 512).startswith("cudnn, up to 64")  # type: ignore[attr-defined]
    plain, _ = _trained(attention="xla")
    assert packed_[-1].max() < packed_[0].min() - 0.5  # it learned
    np.testing.assert_allclose(packed_, plain, rtol=0.02)


@pytest.mark.parametrize(
    "change", [{"moment_dtype": "bfloat16"}, {"remat": "full"}, {"layers": "scan"}, {"loss_blocks": 8}], ids=str
)
def test_settings_change_rounding_alone(change: dict[str, Any]) -> None:
    np.testing.assert_allclose(_trained(**change)[0], _trained()[0], rtol=0.02)


def test_a_trace_has_every_class_of_kernels(tmp_path: Path) -> None:
    with jax.profiler.trace(str(tmp_path)):
        _trained(microbatches=2)
    assert {"products", "attention", "element-wise"} <= set(kernel_times.by_class(kernel_times.kernels(tmp_path, 12)))


def test_kernels_of_our_own_give_what_their_formulas_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms with sums and rotations, and the gate, within the rounding of bfloat16."""
    with_kernels, _ = _trained()
    monkeypatch.setattr(own, "runs", lambda: False)
    formulas, _ = _trained.__wrapped__()
    np.testing.assert_allclose(with_kernels, formulas, rtol=0.02)
