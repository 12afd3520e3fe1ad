"""The TPU kernel inside the real train step on a mesh: four virtual devices, a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ON_FOUR_DEVICES = """
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
from functools import partial
import numpy as np
from splitjax import config
from splitjax.model import LanguageModel, splash
from splitjax.parallel import make_mesh
from splitjax.train import Trainer

splash.attend = partial(splash.attend, interpret=True)
shape = config.Model(d_model=16, n_layers=1, n_heads=2, d_ff=16)
tokens = np.random.default_rng(0).integers(0, 64, (2, 2, 129)).astype(np.int32)

def step(attention, mesh):
    train = config.Train(seq_len=128, batch_size=2, attention=attention, expert_loop="vmap")
    trainer = Trainer(LanguageModel.under(train, shape, 64), train, mesh)
    controls = trainer.controls(np.full(2, 1e-3, np.float32), 256)
    _, metrics = trainer.step(trainer.init([0, 1]), trainer.placement.put_batch(tokens, 2, 2), controls)
    return np.asarray(metrics.loss_K), np.asarray(metrics.grad_norm_K)

wanted = step("xla", None)
for sizes in ({"expert": 2, "fsdp": 2}, {"fsdp": 2, "tensor": 2}):
    np.testing.assert_allclose(step("splash", make_mesh(**sizes)), wanted, rtol=1e-5)
print("equal on every mesh")
"""


@pytest.mark.slow
def test_the_kernel_shares_out_experts_windows_and_heads() -> None:
    done = subprocess.run([sys.executable, "-c", _ON_FOUR_DEVICES], capture_output=True, text=True, timeout=400)
    assert "equal on every mesh" in done.stdout, done.stderr
