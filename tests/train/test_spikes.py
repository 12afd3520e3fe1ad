from __future__ import annotations

import jax
import numpy as np
import pytest

from splitjax.train import pick
from splitjax.train.guards.spikes import SETTLED_AFTER

from .helpers import STEP, Batches, Bigram, make_trainer, put, same_bits


class Loud(Bigram):
    """A batch that begins with token 1 has a hundredfold loss."""

    def loss(self, params, tokens_BT):
        objective, aux = super().loss(params, tokens_BT)
        return objective * jax.numpy.where(tokens_BT[0, 0] == 1, 100.0, 1.0), aux


class Louder(Batches):
    def __init__(self, experts, loud: set[int]) -> None:
        super().__init__(experts)
        self.loud = loud

    def batch(self, t, rows=None):
        tokens = super().batch(t, rows)
        tokens[:, 0, 0] = 2
        tokens[0, 0, 0] = 1 if t in self.loud else 2
        return tokens


def run(trainer, stream, steps):
    stack = trainer.init([0, 1])
    for t in range(steps):
        stack, _ = trainer.step(stack, put(trainer, stream.batch(t)), trainer.controls(np.full(2, 1e-3), STEP))
    return stack


@pytest.fixture(scope="module")
def wary():
    return make_trainer(Loud(), expert_loop="scan", spike=5.0)


def test_a_spike_is_skipped_and_leaves_the_other_expert_alone(wary):
    steps = SETTLED_AFTER + 4
    spiked, calm = run(wary, Louder(2, {SETTLED_AFTER + 2}), steps), run(wary, Louder(2, set()), steps)
    assert spiked.skipped_K.tolist() == [1, 0]
    assert spiked.steps_K.tolist() == [steps - 1, steps]
    assert same_bits(pick(spiked, [1]), pick(calm, [1]))


def test_the_first_steps_are_never_spikes(wary):
    assert run(wary, Louder(2, {3}), 6).skipped_K.tolist() == [0, 0]


def test_a_lasting_change_is_learned(wary):
    after = run(wary, Louder(2, set(range(SETTLED_AFTER, 200))), 100)
    skipped = after.skipped_K.tolist()
    assert 5 < skipped[0] < 60
    assert skipped[1] == 0


def test_off_unless_asked_for():
    careless = make_trainer(Loud(), expert_loop="scan")
    assert run(careless, Louder(2, {SETTLED_AFTER + 2}), SETTLED_AFTER + 4).skipped_K.tolist() == [0, 0]


def test_the_running_mean_is_the_mean_at_first(wary):
    trainer, norms = wary, []
    stack = trainer.init([0, 1])
    for t in range(10):
        batch = put(trainer, Louder(2, set()).batch(t))
        stack, metrics = trainer.step(stack, batch, trainer.controls(np.full(2, 1e-3), STEP))
        norms.append(np.asarray(metrics.grad_norm_K))
    assert np.asarray(stack.norm_K) == pytest.approx(np.mean(norms, axis=0), rel=1e-4)
