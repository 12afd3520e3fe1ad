"""Which attention runs: the one that is named, or the one that suits the machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, cast

import jax
from jax import Array

from . import attention, cudnn, cudnn_calls, packed, splash
from .attention import Attend

Backend = Literal["auto", "xla", "splash", "cudnn"]


def attention_of(backend: Backend, cap: float | None) -> Attend:
    """The attention of a back end under a soft cap of its scores.

    Args:
        backend: "xla" anywhere, "splash" on TPU, "cudnn" on NVIDIA GPUs; "auto": splash on TPU, cudnn on GPU where it
            can (see `cudnn.unfit`), else xla.
        cap: see `attention.attend`.
    """
    if backend == "auto":
        suited: dict[str, Callable[..., Array]] = {"tpu": splash.attend, "gpu": _on_gpu}
        return partial(suited.get(jax.default_backend(), attention.attend), cap=cap)
    named: dict[str, Callable[..., Array]] = {"xla": attention.attend, "splash": splash.attend, "cudnn": cudnn.attend}
    return partial(named[backend], cap=cap)


def _on_gpu(
    q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, document_BS: Array, cap: float | None = None
) -> Array:
    chosen = attention.attend if cudnn.unfit(q_BSHX, cap) else cudnn.attend
    return chosen(q_BSHX, k_BSNX, v_BSNX, document_BS, cap)


def told(backend: Backend, cap: float | None, queries: jax.ShapeDtypeStruct) -> str:
    """Which attention runs here for queries (B, S, H, X), in words: for tables and records."""
    if backend == "auto":
        on_gpu = "xla" if cudnn.unfit(queries, cap) else "cudnn"
        named = {"tpu": "splash", "gpu": on_gpu}.get(jax.default_backend(), "xla")
        return told(cast(Backend, named), cap, queries)
    if backend != "cudnn":
        return backend
    if why := cudnn_calls.unfit(queries):
        return f"cudnn, documents by a mask: {why}"
    return f"cudnn, up to {packed.SLOTS[-1]} packed documents a window"
