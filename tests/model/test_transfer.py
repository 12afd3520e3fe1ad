"""One tuned rate serves a sweep over N: the best rate of a 0.3M model is within a grid step of a 2M model's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax import config
from splitjax.model import LanguageModel

VOCAB, BATCH, LENGTH = 256, 16, 128
TOKENS = 1_000_000
STEPS = TOKENS // (BATCH * LENGTH)
RATES = [2.0**power * 1e-3 for power in range(1, 7)]


def _text() -> np.ndarray:
    """Bytes of the standard library's source: real text that every machine has."""
    import ast
    import email
    import json
    from pathlib import Path

    files = [path for module in (ast, email, json) for path in sorted(Path(module.__file__).parent.glob("*.py"))]
    return np.frombuffer(b"\0".join(path.read_bytes() for path in files), np.uint8)[: 4 << 20]


def _final_loss(model: LanguageModel, rates: list[float], text: np.ndarray) -> list[float]:
    """Held-out loss after a million tokens under each peak rate, warm-up and decay included."""
    held_out, train = text[: 64 * (LENGTH + 1)].reshape(64, -1), text[64 * (LENGTH + 1) :]
    groups = model.groups(jax.eval_shape(model.init, jax.random.key(0)))

    @jax.jit
    def step(state: Any, tokens_BT: Any, rate: Any, count: Any) -> Any:
        params, mu, nu = state
        grads, _ = jax.grad(model.loss, has_aux=True)(params, tokens_BT)
        mu = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mu, grads)
        nu = jax.tree.map(lambda v, g: 0.98 * v + 0.02 * g * g, nu, grads)
        corrected = jax.tree.map(
            lambda m, v: m / (1 - 0.9**count) / (jnp.sqrt(v / (1 - 0.98**count)) + 1e-8), mu, nu
        )
        params = jax.tree.map(lambda p, u, group: p - rate * group.rate * u, params, corrected, groups)
        return params, mu, nu

    score = jax.jit(lambda params: model.token_losses(params, held_out.astype(np.int32)).mean())
    losses = []
    for peak in rates:
        rng = np.random.default_rng(0)
        params = model.init(jax.random.key(0))
        state = (params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))
        for t in range(STEPS):
            starts = rng.integers(0, len(train) - LENGTH - 1, BATCH)
            batch = np.stack([train[start : start + LENGTH + 1] for start in starts]).astype(np.int32)
            rate = peak * min(1.0, (t + 1) / (0.1 * STEPS), (STEPS - t) / (0.2 * STEPS))
            state = step(state, batch, rate, t + 1.0)
        losses.append(float(score(state[0])))
    return losses


@pytest.mark.slow
def test_the_best_rate_moves_at_most_one_grid_step_from_0p3m_to_2m() -> None:
    text = _text()
    best = {}
    for name in ("0.3M", "2M"):
        losses = _final_loss(LanguageModel(config.Model.model_validate(name), VOCAB), RATES, text)
        best[name] = int(np.nanargmin(losses))
        print(name, dict(zip(RATES, losses, strict=True)))
        assert 0 < best[name] < len(RATES) - 1, losses
    assert abs(best["0.3M"] - best["2M"]) <= 1, best
