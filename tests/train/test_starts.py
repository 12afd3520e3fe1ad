from __future__ import annotations

import jax
import numpy as np
import pytest

from splitjax.train import Phase, checkpoint, path_tokens, pick, run_phase, starts

from .helpers import STEP, Batches, put, same_bits


@pytest.fixture(scope="module")
def seed(trainer, tmp_path_factory):
    stack = trainer.init(0)
    for t in range(2):
        given = trainer.controls(np.full(1, 1e-2), STEP)
        stack, _ = trainer.step(stack, put(trainer, Batches(1).batch(t)), given)
    meta = {"phase": "trunk", "tokens": 2 * STEP, "lineage": {"operation": "init", "seed": 0}}
    return checkpoint.save(tmp_path_factory.mktemp("seed"), 2 * STEP, stack, meta)


def test_every_expert_of_a_split_is_the_seed(trainer, seed):
    stack, lineage = starts.split(trainer, seed, 4)()
    one, _ = checkpoint.restore(seed)
    assert all(same_bits(pick(stack, [k]), one) for k in range(4))
    assert lineage["operation"] == "split"
    assert (lineage["experts"], lineage["moments"]) == (4, "inherit")
    parent = lineage["parent"]
    assert (parent["phase"], parent["tokens"]) == ("trunk", 2 * STEP)
    assert parent["lineage"] == {"operation": "init", "seed": 0}
    assert len(parent["hash"]) > 10


def test_a_split_may_forget_the_moments_and_says_so(trainer, seed):
    stack, lineage = starts.split(trainer, seed, 2, moments="zero")()
    kept, _ = starts.split(trainer, seed, 2)()
    assert lineage["moments"] == "zero"
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves((stack.mu, stack.nu, stack.steps_K)))
    assert same_bits(stack.params, kept.params)
    assert path_tokens(stack).tolist() == [2 * STEP] * 2


def test_a_split_starts_from_a_stack_of_one(trainer, tmp_path):
    folder = checkpoint.save(tmp_path, 0, trainer.init([0, 1]), {})
    with pytest.raises(ValueError, match="stack of one"):
        starts.split(trainer, folder, 2)()


def test_a_branch_takes_the_experts_named(trainer, tmp_path):
    both = trainer.init([0, 1])
    folder = checkpoint.save(tmp_path, 0, both, {})
    stack, lineage = starts.branch(trainer, folder, [1])()
    assert same_bits(stack, pick(both, [1]))
    assert lineage["experts"] == [1]


def test_parameters_from_elsewhere_start_with_no_tokens_and_no_moments(trainer):
    given = jax.tree.map(lambda leaf: np.asarray(leaf[0]) + 1, trainer.init(3).params)
    begin = starts.imported(trainer, lambda: given, {"path": "x"}, models=2)
    stack, lineage = begin()
    assert stack.experts == begin.experts == 2
    jax.tree.map(lambda ours, theirs: np.testing.assert_array_equal(ours, np.stack([theirs] * 2)), stack.params, given)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((stack.mu, stack.nu, stack.tokens_K2, stack.steps_K)))
    assert lineage == {"operation": "imported", "source": {"path": "x"}}
    alone, _ = begin.only(1)()
    assert alone.experts == 1


def test_experts_of_several_checkpoints_go_on_side_by_side(trainer, tmp_path):
    old = checkpoint.save(tmp_path / "old", 0, trainer.init([0, 1]), {"phase": "old", "tokens": 0})
    new = checkpoint.save(tmp_path / "new", 0, trainer.init(2), {"phase": "new", "tokens": 0})
    stack, lineage = starts.gather(trainer, [(old, 1), (new, 0)])()
    assert same_bits(stack, trainer.init([1, 2]))
    assert lineage["operation"] == "gather"
    assert [(parent["phase"], parent["expert"]) for parent in lineage["parents"]] == [("old", 1), ("new", 0)]
    begin = starts.gather(trainer, [(old, 1), (new, 0)])
    after = run_phase(trainer, begin, Batches(2), Phase(0, STEP), tmp_path / "p")
    assert path_tokens(after).tolist() == [STEP, STEP]
