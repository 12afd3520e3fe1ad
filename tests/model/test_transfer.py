"""One tuned rate serves a sweep over N: the best rate of a 0.3M model is within a grid step of a 2M model's."""

from __future__ import annotations

import ast
import email
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from splitjax import config
from splitjax.model import LanguageModel
from splitjax.train import Trainer, decay_span, schedule

VOCAB, BATCH, LENGTH = 256, 16, 128
RECIPE = config.Train(batch_size=BATCH, seq_len=LENGTH)
STEPS = 1_000_000 // (BATCH * LENGTH)
RATES = np.array([2.0**power * 1e-3 for power in range(1, 7)])


def _text() -> np.ndarray:
    """Bytes of the standard library's source: real text that every machine has."""
    files = [path for module in (ast, email, json) for path in sorted(Path(module.__file__).parent.glob("*.py"))]
    return np.frombuffer(b"\0".join(path.read_bytes() for path in files), np.uint8)[: 4 << 20].astype(np.int32)


def _final_losses(name: str, text: np.ndarray) -> np.ndarray:
    """Held-out loss after a million tokens under each peak rate: the rates are the experts of one stack."""
    held_out, train = text[: 64 * (LENGTH + 1)].reshape(64, -1), text[64 * (LENGTH + 1) :]
    model = LanguageModel.under(RECIPE, config.Model.model_validate(name), VOCAB)
    trainer, rng = Trainer(model, RECIPE), np.random.default_rng(0)
    stack = trainer.init([0] * len(RATES))
    per_step = BATCH * LENGTH
    middle = (np.arange(STEPS) + 0.5) * per_step
    for rate in schedule(RECIPE, middle, *decay_span(RECIPE, STEPS * per_step)):
        starts = rng.integers(0, len(train) - LENGTH - 1, BATCH)
        batch = np.stack([train[start : start + LENGTH + 1] for start in starts])
        tokens_KBT = np.broadcast_to(batch, (len(RATES), *batch.shape))
        controls = trainer.controls(RATES * (rate / RECIPE.learning_rate), per_step)
        stack, _ = trainer.step(stack, tokens_KBT, controls)
    score = jax.jit(lambda params: jax.lax.map(lambda one: model.token_losses(one, held_out).mean(), params))
    return np.asarray(score(stack.params))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_best_rate_moves_at_most_one_grid_step_from_0p3m_to_2m() -> None:
    text, best = _text(), {}
    for name in ("0.3M", "2M"):
        losses = _final_losses(name, text)
        best[name] = int(np.nanargmin(losses))
        print(name, {f"{rate:g}": round(float(loss), 4) for rate, loss in zip(RATES, losses, strict=True)}, flush=True)
        assert 0 < best[name] < len(RATES) - 1, losses
    assert abs(best["0.3M"] - best["2M"]) <= 1, best
