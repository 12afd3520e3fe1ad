"""How a phase gets its first state, and the lineage that says so in every checkpoint after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from . import checkpoint, record
from .stack import Stack
from .step import Trainer

Start = Callable[[], tuple[Stack, dict[str, Any]]]
"""Makes the first state of a phase and its lineage; called only when there is no checkpoint to resume from, so that
a restore never finds a second copy of the model in memory."""

Moments = Literal["inherit", "zero"]


def init(trainer: Trainer, seed: int) -> Start:
    """Step 0 of a seed: a stack of one."""
    return lambda: (trainer.init(seed), {"operation": "init", "seed": seed})


def branch(trainer: Trainer, folder: Path, experts: Sequence[int] | None = None) -> Start:
    """Go on from a checkpoint, with all its experts or those named (one to drop the rest or to train it alone)."""

    def start() -> tuple[Stack, dict[str, Any]]:
        stack, meta = checkpoint.restore(folder, experts, trainer.placement.leaf)
        return stack, _from("branch", folder, meta, experts=None if experts is None else list(experts))

    return start


def split(trainer: Trainer, folder: Path, k: int, *, moments: Moments = "inherit") -> Start:
    """The split: the stack of one in a checkpoint becomes K equal experts.

    Every leaf is read once and broadcast straight into its target sharding, so a host never holds more than the rows
    of its own devices. Path tokens go on from the seed's, whatever `moments` says.

    Args:
        folder: a checkpoint of a stack of one (step 0 included).
        k: K.
        moments: "inherit" keeps Adam's moments and count; "zero" starts both anew.
    """

    def start() -> tuple[Stack, dict[str, Any]]:
        stack, meta = checkpoint.restore(folder, (0,) * k, trainer.placement.leaf)
        if meta["experts"] != 1:
            raise ValueError(f"a split starts from a stack of one; {folder} holds {meta['experts']}")
        if moments == "zero":
            stack = _without_moments(stack)
        return stack, _from("split", folder, meta, experts=k, moments=moments)

    return start


def _without_moments(stack: Stack) -> Stack:
    zero = jax.jit(lambda tree: jax.tree.map(jnp.zeros_like, tree), donate_argnums=0)
    mu, nu, steps_K = zero((stack.mu, stack.nu, stack.steps_K))
    return Stack(stack.params, mu, nu, stack.tokens_K2, steps_K, stack.skipped_K)


def _from(operation: str, folder: Path, meta: dict[str, Any], **choice: Any) -> dict[str, Any]:
    """Lineage: what was done to which checkpoint, and that one's own lineage."""
    parent = {
        "phase": meta.get("phase"),
        "tokens": meta.get("tokens"),
        "hash": record.read(Path(folder))["hash"],
        "lineage": meta.get("lineage"),
    }
    return {"operation": operation, **choice, "parent": parent}
