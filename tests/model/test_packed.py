"""Attention of packed documents: slots, what is kept, and the choice, over kernels that are written out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitjax.model import cudnn, cudnn_calls, packed
from splitjax.parallel import make_mesh

from .packed_kernels import WrittenOut
from .test_attention import by_definition

B, S, H, N, X = 3, 16, 4, 2, 8
SLOTS = (1, 2, 5)


def _both(attend: Any) -> Any:
    """Value and gradients, jitted once: documents are data."""

    def run(q: Any, k: Any, v: Any, g: Any, document: Any) -> Any:
        value, pull = jax.vjp(lambda *qkv: attend(*qkv, document), q, k, v)
        return value, pull(g)

    return jax.jit(run)


def _inputs(*leading: int) -> tuple[Any, ...]:
    keys = jax.random.split(jax.random.key(0), 4)
    heads = (H, N, N, H)
    return tuple(jax.random.normal(key, (*leading, B, S, n, X)) for key, n in zip(keys, heads, strict=True))


def _documents(lengths: list[list[int]]) -> Any:
    """Document numbers of windows by the lengths of their documents."""
    return jnp.stack([jnp.repeat(jnp.arange(len(row)), jnp.asarray(row), total_repeat_length=S) for row in lengths])


def _close(got: Any, wanted: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), got, wanted)


PACKED, DEFINED = _both(packed.attention(WrittenOut(), SLOTS)), _both(by_definition)
STARTS = st.lists(st.sets(st.integers(1, S - 1)), min_size=B, max_size=B)


@settings(max_examples=60, deadline=None)
@given(starts=STARTS, number=st.integers(0, 2**30), step=st.integers(1, 5))
def test_any_documents_give_what_the_definition_gives(starts: list[set[int]], number: int, step: int) -> None:
    """From one a window to one a position, under numbers that begin anywhere."""
    opens = np.zeros((B, S), np.int32)
    for row, places in zip(opens, starts, strict=True):
        row[list(places)] = step
    document = jnp.asarray(np.cumsum(opens, axis=1) + number, jnp.int32)
    _close(PACKED(*_inputs(), document), DEFINED(*_inputs(), document))


@pytest.mark.parametrize(
    ("lengths", "room"),
    [([[16], [16], [16]], "causal"), ([[16], [3, 13], [16]], "2 slots"),
     # Six in three windows: room is counted in the mean.
     ([[1, 1, 1, 13], [16], [16]], "2 slots"), ([[4] * 4, [8, 8], [16]], "5 slots"),
     ([[1] * 16, [16], [16]], "masked")],
)
def test_the_least_room_is_taken_as_the_program_runs(lengths: list[list[int]], room: str) -> None:
    ran: list[str] = []

    class Told(WrittenOut):
        def forward(self, q: Any, k: Any, v: Any, packed: Any) -> Any:
            done = super().forward(q, k, v, packed)
            jax.debug.callback(lambda name=self.called[-1]: ran.append(name))
            return done

        def masked(self, q: Any, k: Any, v: Any, document: Any) -> Any:
            jax.debug.callback(lambda: ran.append("masked"))
            return super().masked(q, k, v, document)

    jax.block_until_ready(_both(packed.attention(Told(), SLOTS))(*_inputs(), _documents(lengths)))
    jax.effects_barrier()
    assert ran == [room]


def test_experts_are_packed_together_and_shared_out_over_devices() -> None:
    """As cuDNN is: folded over experts, each device of the mesh for itself."""
    kernels = WrittenOut()
    attend = cudnn.folded(packed.attention(kernels, SLOTS))
    q, k, v, g = _inputs(2)
    document = jnp.stack([_documents([[16], [3, 13], [16]]), _documents([[4] * 4, [8, 8], [5, 11]])])
    with jax.set_mesh(make_mesh()):
        mapped = jax.vmap(lambda *one: cudnn.on_each_device(attend, *one), spmd_axis_name="expert")
        got = _both(mapped)(q, k, v, g, document)
    _close(got, _both(jax.vmap(by_definition))(q, k, v, g, document))
    assert set(kernels.called) == {"causal", "2 slots", "5 slots", "masked"}


def test_documents_are_listed_with_their_lengths() -> None:
    found = packed.Documents.of(jnp.asarray([[7, 7, 8, 8, 8, 8], [3, 3, 3, 3, 3, 4]]), 5)
    length, start = found.first(5)
    np.testing.assert_array_equal(length, [2, 4, 5, 1, 0])
    np.testing.assert_array_equal(start, [0, 2, 6, 11, 12, 12])
    np.testing.assert_array_equal(found.index_BS, [[0, 0, 1, 1, 1, 1], [2, 2, 2, 2, 2, 3]])
    np.testing.assert_array_equal(found.within_BS, [[0, 1, 0, 1, 2, 3], [0, 1, 2, 3, 4, 0]])
    assert found.total == 4


def test_this_jax_has_the_calls_that_were_asked_for() -> None:
    assert isinstance(cudnn_calls.calls(), cudnn_calls.Calls)


@pytest.mark.parametrize("fault", ["gone", "changed"])
def test_a_jax_without_them_does_what_it_did(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    name = "_dot_product_attention_fwd_p"
    if fault == "gone":
        monkeypatch.delattr(module, name)
    else:
        monkeypatch.setattr(module, name, jax.lax.add_p)
    cudnn_calls.calls.cache_clear()
    try:
        assert "has other cuDNN calls" in str(cudnn_calls.calls())
        monkeypatch.setattr(cudnn, "_masked", lambda q, *_: q + 1)
        q = jnp.zeros((1, 16, 2, 8), jnp.bfloat16)
        assert cudnn.attend(q, q, q, jnp.zeros((1, 16), jnp.int32)).max() == 1
    finally:
        cudnn_calls.calls.cache_clear()
