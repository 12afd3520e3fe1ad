"""Compile the stacked step on eight CPU devices and print the collectives that cross experts, one mesh a line."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from splitjax.parallel import Program, crossing


def main() -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    from splitjax.parallel import make_mesh
    from splitjax.train import Trainer

    from .helpers import transformer_trainer

    for loop, sizes in (("vmap", {"expert": 2, "fsdp": 2, "tensor": 2}), ("scan", {"expert": 4, "data": 2})):
        mesh = make_mesh(**sizes)
        plain = transformer_trainer(expert_loop=loop)
        trainer = Trainer(plain.model, plain.train, mesh)
        found = compiled(trainer, trainer._stack_step).collectives
        print(loop, len(found), crossing(found, mesh.shape, "expert"), flush=True)
    wrong = compiled(trainer, lambda *work: mixed(trainer, *work)).collectives
    print("wrong", 0, crossing(wrong, mesh.shape, "expert"), flush=True)


def mixed(trainer, stack, tokens_KBT, controls):
    """A step that looks at its neighbours: every expert's rate is that of the mean loss of all."""
    after, metrics = trainer._stack_step(stack, tokens_KBT, controls)
    mean = metrics.loss_K.mean()
    return jax.tree.map(lambda leaf: leaf * mean.astype(leaf.dtype), after), metrics


def compiled(trainer, step) -> Program:
    experts = 4
    stack = trainer.init(list(range(experts)))
    batch_size, seq_len = 4, trainer.train.seq_len
    tokens = trainer.placement.put_batch(jnp.zeros((experts, batch_size, seq_len + 1), jnp.int32), experts, batch_size)
    text = jax.jit(step).lower(stack, tokens, trainer.controls(jnp.ones(experts), 1)).compile().as_text()
    return Program(text)


if __name__ == "__main__":
    main()
