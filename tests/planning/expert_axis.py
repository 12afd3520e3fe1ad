"""Who talks across the expert axis of a step compiled for TPUs; and a step that does so by mistake."""

from __future__ import annotations

import jax

from splitjax.config import Config
from splitjax.model import LanguageModel
from splitjax.parallel import Program, Topology, crossing
from splitjax.planning import compiled_step, estimate
from splitjax.train import Trainer


def crossing_kinds(config: Config, topology: str, experts: int, *, wrong: bool) -> list[str]:
    """Kinds of the collectives over the expert axis.

    Args:
        wrong: every expert's parameters are scaled by the mean loss of all: a step that looks at its neighbours.
    """
    train = config.train.model_copy(update={"attention": "splash"})
    target = Topology.parse(topology)
    sizes = estimate.mesh_for(train, experts, experts, target)
    trainer = Trainer(LanguageModel.under(train, config.model, 32768), train, target.mesh(sizes))

    def mixed(stack, tokens_KBT, controls):
        after, metrics = trainer._stack_step(stack, tokens_KBT, controls)
        return jax.tree.map(lambda leaf: leaf * metrics.loss_K.mean().astype(leaf.dtype), after), metrics

    with trainer.placement.active():
        lowered = jax.jit(mixed if wrong else trainer._stack_step).lower(*trainer.shapes(experts))
    _, text = compiled_step.compile_to_text(lowered, {})
    return crossing(Program(text).collectives, sizes, "expert")
