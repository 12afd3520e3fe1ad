"""Attention inside documents without a mask: every document is a sequence of its own, packed behind the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .attention import Attend

SLOTS = (1, 2, 4, 8, 16, 64)
"""Documents a window, in the mean over a batch, that a kernel call has room for. One: the plain causal kernel, where
every window is one document. The kernels' time grows with the room too: both passes of 8 windows of 2048 tokens, 4
documents each, took 0.90, 0.98, 1.18 and 2.38 ms on an H200 with room for 4, 8, 16 and 64, and 2.25 ms under a mask.
Each number of slots also costs a layer's program two calls to compile, 0.1 s each."""


class Documents(NamedTuple):
    """Where the documents of B windows lie when the windows are laid behind each other; M: room for documents.

    Attributes:
        start_M1: position of each document, B·S for those that are not there and behind the last; int32 (M + 1,).
        index_BS: number of a position's document.
        within_BS: position in its document.
    """

    start_M1: Array
    index_BS: Array
    within_BS: Array

    @classmethod
    def of(cls, document_BS: Array, room: int) -> Documents:
        """Args:
            document_BS: equal for neighbours of one document (`attention.documents`); a window begins a document.
            room: M; documents beyond it are not listed.
        """
        B, S = document_BS.shape
        opens_BS = jnp.concatenate([jnp.ones((B, 1), bool), document_BS[:, 1:] != document_BS[:, :-1]], axis=1)
        (start_M,) = jnp.nonzero(opens_BS.reshape(-1), size=room, fill_value=B * S)
        index = jnp.cumsum(opens_BS.reshape(-1), dtype=jnp.int32) - 1
        here = lax.broadcasted_iota(jnp.int32, (B, S), 1)
        within_BS = here - lax.cummax(jnp.where(opens_BS, here, 0), axis=1)
        start_M1 = jnp.append(start_M.astype(jnp.int32), jnp.int32(B * S))
        return cls(start_M1, index.reshape(B, S), within_BS)

    @property
    def total(self) -> Array:
        """Documents there are, listed or not."""
        return self.index_BS[-1, -1] + 1

    def first(self, room: int) -> tuple[Array, Array]:
        """Lengths (M,), 0 where there is no document, and starts (M + 1,) of the first `room` = M."""
        start_M1 = self.start_M1[: room + 1]
        return jnp.diff(start_M1), start_M1


class Kernels(Protocol):
    """A pair of fused kernels. Packed, a call has B · slots sequences of at most S positions; `statistics` is whatever
    its forward pass keeps of each row, float32 (B · slots, H, S), and (B, H, S) of the others."""

    def forward(self, q: Array, k: Array, v: Array, packed: tuple[Array, Array] | None) -> tuple[Array, Array]:
        """Causal attention and its statistics. `packed`: lengths and starts of `Documents.first`; None: by windows."""
        ...

    def backward(
        self, q: Array, k: Array, v: Array, out: Array, statistics: Array, dout: Array,
        packed: tuple[Array, Array] | None,
    ) -> tuple[Array, ...]:
        """Gradients of q, k and v."""
        ...

    def masked(self, q: Array, k: Array, v: Array, document_BS: Array) -> tuple[Array, Array]:
        """`forward` under a mask."""
        ...

    def masked_backward(
        self, q: Array, k: Array, v: Array, out: Array, statistics: Array, dout: Array, document_BS: Array
    ) -> tuple[Array, ...]:
        """`backward` under a mask."""
        ...


def attention(kernels: Kernels, slots: tuple[int, ...] = SLOTS) -> Attend:
    """What `attention.attend` computes, by kernels that know where documents start.

    The number of slots is chosen as the program runs; batches of more documents than the last one holds are masked.
    """

    @jax.custom_vjp
    def attend(q: Array, k: Array, v: Array, document: Array) -> Array:
        return forward(q, k, v, document)[0]

    def forward(q: Array, k: Array, v: Array, document: Array) -> tuple[Array, Any]:
        branches = [_forward_in(kernels, room) for room in slots]
        out, statistics = _by_room(slots, [*branches, kernels.masked], q, k, v, document)
        return out, (q, k, v, document, out, statistics)

    def backward(kept: Any, dout: Array) -> tuple[Array | None, ...]:
        q, k, v, document, out, statistics = kept
        branches = [_backward_in(kernels, room) for room in slots]
        return (*_by_room(slots, [*branches, kernels.masked_backward], q, k, v, out, statistics, dout, document), None)

    attend.defvjp(forward, backward)
    return attend


def _by_room(slots: tuple[int, ...], branches: list[Callable[..., Any]], *arrays: Array) -> Any:
    """The branch with the least room for the documents at hand, of `arrays`, the last of which says the documents.

    The last branch is given that; the others what `Documents` says."""
    *arrays_, document_BS = arrays
    B, S = document_BS.shape
    documents = Documents.of(document_BS, B * min(slots[-1], S))
    fit = np.asarray([B * room for room in slots]) < documents.total

    def told(branch: Callable[..., Any]) -> Callable[..., Any]:
        return lambda arrays, document_BS, documents: branch(*arrays, documents)

    *packed, masked = branches
    chosen = [*map(told, packed), lambda arrays, document_BS, documents: masked(*arrays, document_BS)]
    return lax.switch(fit.sum(dtype=jnp.int32), chosen, arrays_, document_BS, documents)


def _forward_in(kernels: Kernels, room: int) -> Callable[..., tuple[Array, Array]]:
    def forward(q: Array, k: Array, v: Array, documents: Documents) -> tuple[Array, Array]:
        if room == 1:
            return kernels.forward(q, k, v, None)
        out, statistics = kernels.forward(q, k, v, documents.first(len(q) * min(room, q.shape[1])))
        return out, _by_position(statistics, documents)

    return forward


def _backward_in(kernels: Kernels, room: int) -> Callable[..., tuple[Array, ...]]:
    def backward(
        q: Array, k: Array, v: Array, out: Array, statistics: Array, dout: Array, documents: Documents
    ) -> tuple[Array, ...]:
        if room == 1:
            return kernels.backward(q, k, v, out, statistics, dout, None)
        packed = documents.first(len(q) * min(room, q.shape[1]))
        return kernels.backward(q, k, v, out, _by_document(statistics, packed[1]), dout, packed)

    return backward


def _by_position(statistics_MHS: Array, documents: Documents) -> Array:
    """(M, H, S) by document → (B, H, S) by window: all that is kept for the backward pass."""
    heads = np.arange(statistics_MHS.shape[1])[None, :, None]
    return statistics_MHS[documents.index_BS[:, None], heads, documents.within_BS[:, None]]


def _by_document(statistics_BHS: Array, start_M1: Array) -> Array:
    """`_by_position` back; rows behind the end of a document hold what nobody reads."""
    B, H, S = statistics_BHS.shape
    position_MS = jnp.minimum(start_M1[:-1, None] + np.arange(S), B * S - 1)
    heads = np.arange(H)[None, :, None]
    return statistics_BHS[(position_MS // S)[:, None], heads, (position_MS % S)[:, None]]
