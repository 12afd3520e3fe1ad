"""How a phase gets its first state, and the lineage that says so in every checkpoint after."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from splitjax.config import UserError

from . import checkpoint, record
from .stack import Stack, concatenate
from .step import Trainer

Lineage = dict[str, Any]
Moments = Literal["inherit", "zero"]


@dataclasses.dataclass(frozen=True)
class Start:
    """Makes the first state of a phase; called only when there is no checkpoint to resume from, so that a restore
    never finds a second copy of the model in memory.

    Attributes:
        experts: K of the phase.
        make: experts wanted, out of range(K) → their stack and its lineage.
    """

    experts: int
    make: Callable[[Sequence[int]], tuple[Stack, Lineage]]

    def __call__(self) -> tuple[Stack, Lineage]:
        """All K at once."""
        return self.make(range(self.experts))

    def only(self, expert: int) -> Start:
        """The same start of one expert alone: a stack of one."""
        return Start(1, lambda _: self.make([expert]))


def init(trainer: Trainer, seed: int | Sequence[int]) -> Start:
    """Step 0 of a seed: a stack of one. Of several seeds: as many experts."""
    seeds = [seed] if isinstance(seed, int) else list(seed)

    def make(experts: Sequence[int]) -> tuple[Stack, Lineage]:
        return trainer.init([seeds[expert] for expert in experts]), {"operation": "init", "seed": seed}

    return Start(len(seeds), make)


def imported(trainer: Trainer, read: Callable[[], Any], about: Lineage, models: int = 1) -> Start:
    """Step 0 with parameters from elsewhere: moments and path tokens are zero.

    Args:
        read: gives the parameters of one model on the host (no expert axis); called when the phase begins.
        about: what the lineage says of where they come from.
        models: equal models to begin with, one a seed of the data order.
    """

    def make(experts: Sequence[int]) -> tuple[Stack, Lineage]:
        def place(path: Any, leaf: Any) -> jax.Array:
            name = ".".join(["params", *(str(entry.key) for entry in path)])
            whole = np.broadcast_to(np.asarray(leaf, np.float32), (len(experts), *leaf.shape))
            sharding = trainer.placement.leaf(name, whole.shape)
            return jax.make_array_from_callback(whole.shape, sharding, whole.__getitem__)

        params = jax.tree_util.tree_map_with_path(place, read())
        stack = jax.jit(trainer.fresh)(params)
        return stack, {"operation": "imported", "source": about}

    return Start(models, make)


def branch(trainer: Trainer, folder: Path, experts: Sequence[int] | None = None) -> Start:
    """Go on from a checkpoint, with all its experts or those named (one to drop the rest or to train it alone).

    Raises:
        UserError: there is no checkpoint in this folder.
    """
    rows = list(range(record.read(Path(folder))["meta"]["experts"])) if experts is None else list(experts)

    def make(wanted: Sequence[int]) -> tuple[Stack, Lineage]:
        chosen = [rows[expert] for expert in wanted]
        stack, meta = _restore(trainer, folder, chosen)
        return stack, _from("branch", folder, meta, experts=chosen)

    return Start(len(rows), make)


def branch_apart(trainer: Trainer, folder: Path, experts: int) -> Start:
    """Go on from experts that were trained apart, each from its own checkpoint: the set need not be joined yet.

    Args:
        folder: where their joint checkpoint is or will be.
        experts: K.
    """

    def make(wanted: Sequence[int]) -> tuple[Stack, Lineage]:
        (expert,) = wanted  # only an expert apart starts apart
        return branch(trainer, record.part_of(folder, expert, folder.name))()

    return Start(experts, make)


def gather(trainer: Trainer, rows: Sequence[tuple[Path, int]]) -> Start:
    """Experts of several checkpoints side by side: how one is added, replaced or dropped at a restart.

    Args:
        rows: (checkpoint, expert in it) of each expert of the new stack; all of them at the start of the phase, or
            ended before it.
    """

    def make(experts: Sequence[int]) -> tuple[Stack, Lineage]:
        parts, parents = [], []
        for folder, row in (rows[expert] for expert in experts):
            stack, meta = _restore(trainer, folder, [row])
            parts.append(stack)
            parents.append(_from("branch", folder, meta, experts=[row])["parent"] | {"expert": row})
        place = jax.jit(lambda stacks: trainer.placement.constrain(concatenate(stacks)))
        return place(parts), {"operation": "gather", "parents": parents}

    return Start(len(rows), make)


def split(trainer: Trainer, folder: Path, k: int, *, seeds: int = 1, moments: Moments = "inherit") -> Start:
    """The split: the stack of one in a checkpoint becomes K equal experts; each of several `seeds` its own K.

    Every leaf is read once and broadcast straight into its target sharding, so a host never holds more than the rows
    of its own devices. Path tokens go on from the seed's, whatever `moments` says.

    Args:
        folder: a checkpoint of a stack of one (step 0 included), or of one model a seed.
        k: K.
        seeds: models in the checkpoint; the experts of the first come first.
        moments: "inherit" keeps Adam's moments and count; "zero" starts both anew.

    Raises:
        ValueError: when begun, if the checkpoint holds more models than `seeds`.
    """

    def make(experts: Sequence[int]) -> tuple[Stack, Lineage]:
        rows = [expert // k for expert in experts]
        stack, meta = _restore(trainer, folder, rows)
        if meta["experts"] != seeds:
            count = "one" if seeds == 1 else seeds
            raise ValueError(f"a split starts from a stack of {count}; {folder} holds {meta['experts']}")
        if moments == "zero":
            stack = _without_moments(stack)
        return stack, _from("split", folder, meta, experts=k, moments=moments)

    return Start(seeds * k, make)


def _restore(trainer: Trainer, folder: Path, rows: Sequence[int]) -> tuple[Stack, dict[str, Any]]:
    wanted = trainer.train.optimizer
    made_by = record.read(Path(folder))["meta"].get("train", {}).get("optimizer", wanted)
    if made_by != wanted:
        raise UserError(
            f"moments of {made_by} cannot go on under {wanted}",
            where=str(folder),
            mend=f"Set train.optimizer={made_by}.",
        )
    stack, meta = checkpoint.restore(folder, rows, trainer.placement.leaf)
    if not stack.mu:
        raise UserError("holds no moments: its phase was the end of a path, and nobody can go on from it",
                        where=str(folder), mend="Start from its weights (see seed_from), or from a trunk.")
    if optax.tree.dtype(stack.mu, "highest") != jnp.dtype(trainer.train.moment_dtype):
        cast = jax.jit(lambda tree: optax.tree.cast(tree, trainer.train.moment_dtype))
        stack = dataclasses.replace(stack, mu=cast(stack.mu))
    return stack, meta


def _without_moments(stack: Stack) -> Stack:
    zero = jax.jit(lambda tree: jax.tree.map(jnp.zeros_like, tree), donate_argnums=0)
    mu, nu, steps_K = zero((stack.mu, stack.nu, stack.steps_K))
    return dataclasses.replace(stack, mu=mu, nu=nu, steps_K=steps_K)


def _from(operation: str, folder: Path, meta: dict[str, Any], **choice: Any) -> Lineage:
    """Lineage: what was done to which checkpoint, and that one's own lineage."""
    parent = {
        "phase": meta.get("phase"),
        "tokens": meta.get("tokens"),
        "hash": record.read(Path(folder))["hash"],
        "lineage": meta.get("lineage"),
    }
    return {"operation": operation, **choice, "parent": parent}
