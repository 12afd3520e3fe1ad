"""The kernels of `packed.Kernels` written out: sequences cut out of the row of all windows, and put back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .test_attention import by_definition


class WrittenOut:
    """Statistics are log-normalisers, and the backward pass has its weights from them, as the fused kernels have.

    Attributes:
        called: kernels traced, in turn.
    """

    def __init__(self) -> None:
        self.called: list[str] = []

    def forward(self, q: Any, k: Any, v: Any, packed: Any) -> Any:
        at = self._slots(q, packed)
        scores, v_MSHX = _scores(q, k, at), _cut(v, at, q.shape[2])
        log_z = jax.nn.logsumexp(scores, axis=-1)
        out = jnp.einsum("mhqk,mkhx->mqhx", jnp.exp(scores - log_z[..., None]), v_MSHX)
        return _put_back(out, at, q.shape), log_z

    def backward(self, q: Any, k: Any, v: Any, out: Any, statistics: Any, dout: Any, packed: Any) -> Any:
        at, heads = self._slots(q, packed), q.shape[2]
        weights = jnp.exp(_scores(q, k, at) - statistics[..., None])
        cut_dout, cut_out = _cut(dout, at, heads), _cut(out, at, heads)
        dv = jnp.einsum("mhqk,mqhx->mkhx", weights, cut_dout)
        dweights = jnp.einsum("mqhx,mkhx->mhqk", cut_dout, _cut(v, at, heads))
        mean = jnp.einsum("mqhx,mqhx->mhq", cut_dout, cut_out)[..., None]
        dscores = weights * (dweights - mean) / np.sqrt(q.shape[-1])
        dq = jnp.einsum("mhqk,mkhx->mqhx", dscores, _cut(k, at, heads))
        dk = jnp.einsum("mhqk,mqhx->mkhx", dscores, _cut(q, at, heads))
        shared = (*k.shape[:3], heads // k.shape[2], k.shape[3])
        return (
            _put_back(dq, at, q.shape),
            *(_put_back(x, at, q.shape).reshape(shared).sum(axis=3) for x in (dk, dv)),
        )

    def masked(self, q: Any, k: Any, v: Any, document: Any) -> Any:
        self.called.append("masked")
        return by_definition(q, k, v, document), jnp.zeros((len(q), q.shape[2], q.shape[1]))

    def masked_backward(self, q: Any, k: Any, v: Any, out: Any, statistics: Any, dout: Any, document: Any) -> Any:
        return jax.vjp(lambda *qkv: by_definition(*qkv, document), q, k, v)[1](dout)

    def _slots(self, q: Any, packed: Any) -> Any:
        """Positions (M, S) of each sequence in the row of all windows, B · S behind its end."""
        B, S = q.shape[:2]
        self.called.append("causal" if packed is None else f"{len(packed[0]) // B} slots")
        length, start = (jnp.full(B, S), jnp.arange(B) * S) if packed is None else (packed[0], packed[1][:-1])
        here = np.arange(S)
        return jnp.where(here < length[:, None], start[:, None] + here, B * S)


def _cut(x: Any, at: Any, heads: int) -> Any:
    rows = jnp.repeat(x, heads // x.shape[2], axis=2).reshape(-1, heads, x.shape[3])
    return jnp.concatenate([rows, jnp.zeros_like(rows[:1])])[at]


def _scores(q: Any, k: Any, at: Any) -> Any:
    H, S = q.shape[2], q.shape[1]
    scores = jnp.einsum("mqhx,mkhx->mhqk", _cut(q, at, H), _cut(k, at, H)) / np.sqrt(q.shape[-1])
    return jnp.where(np.tril(np.ones((S, S), bool)), scores, -jnp.inf)


def _put_back(x_MSHX: Any, at: Any, shape: Any) -> Any:
    B, S, H, X = shape
    return jnp.zeros((B * S + 1, H, X)).at[at].add(x_MSHX)[:-1].reshape(shape)
