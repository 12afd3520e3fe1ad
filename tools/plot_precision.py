"""Training loss in bfloat16 beside float32: same model, text, order of batches and recipe.

    python tools/plot_precision.py docs/img/precision.png [--model 0.3M] [--tokens 500k]

Text is the standard library's source, as bytes. Prints the held-out losses; weights and optimiser are float32 in both.
"""

from __future__ import annotations

import argparse
import email
import json
from pathlib import Path

import splitjax  # noqa: F401 # isort: skip  # before jax, which would look for a TPU
import jax
import numpy as np

from splitjax import config
from splitjax.config import parse_count
from splitjax.model import LanguageModel
from splitjax.train import Trainer, decay_span, schedule

VOCAB, BATCH, LENGTH = 256, 16, 128


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default="0.3M")
    parser.add_argument("--tokens", default="500k")
    args = parser.parse_args()
    files = [path for module in (email, json) for path in sorted(Path(module.__file__).parent.glob("*.py"))]
    text = np.frombuffer(b"\0".join(path.read_bytes() for path in files), np.uint8).astype(np.int32)
    steps = int(parse_count(args.tokens)) // (BATCH * LENGTH)  # type: ignore[arg-type]
    curves = {}
    for precision in ("float32", "bfloat16"):
        curves[precision], held_out = _train(args.model, precision, text, steps)
        print(f"{precision}: {held_out:.4f} nats a held-out byte after {steps * BATCH * LENGTH:,} tokens", flush=True)
    _draw(curves, args.picture)
    return 0


def _train(name: str, precision: str, text: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    recipe = config.Train.model_validate({"batch_size": BATCH, "seq_len": LENGTH, "precision": precision})
    model = LanguageModel.under(recipe, config.Model.model_validate(name), VOCAB)
    trainer, rng = Trainer(model, recipe), np.random.default_rng(0)
    held_out, train = text[: 32 * (LENGTH + 1)].reshape(32, -1), text[32 * (LENGTH + 1) :]
    stack, losses, per_step = trainer.init(0), [], BATCH * LENGTH
    for rate in schedule(recipe, (np.arange(steps) + 0.5) * per_step, *decay_span(recipe, steps * per_step)):
        starts = rng.integers(0, len(train) - LENGTH - 1, BATCH)
        batch = np.stack([train[start : start + LENGTH + 1] for start in starts])[None]
        stack, metrics = trainer.step(stack, batch, trainer.controls(np.array([rate]), per_step))
        losses.append(metrics.loss_K)
    params = jax.tree.map(lambda leaf: leaf[0], stack.params)
    return np.concatenate(jax.device_get(losses)), float(model.token_losses(params, held_out).mean())


def _draw(curves: dict[str, np.ndarray], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(5, 4), height_ratios=[2, 1], sharex=True, layout="tight")
    for precision, loss in curves.items():
        above.plot(np.arange(1, len(loss) + 1) * BATCH * LENGTH / 1e3, loss, label=precision, linewidth=1)
    difference = curves["bfloat16"] - curves["float32"]
    below.plot(np.arange(1, len(difference) + 1) * BATCH * LENGTH / 1e3, difference, color="black", linewidth=1)
    above.set_ylabel("nats a byte")
    above.legend()
    below.set_ylabel("difference")
    below.set_xlabel("thousand tokens")
    figure.savefig(picture, dpi=80)


if __name__ == "__main__":
    raise SystemExit(main())
