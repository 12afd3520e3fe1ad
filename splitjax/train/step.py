"""One jitted step for every stack: a trunk, a branch, K experts, a baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.sharding import Mesh

from splitjax.config import Train, UserError

from .guards.spikes import running_mean, spike_limit
from .optimizer import first_moments, second_moments, update
from .placement import Placement, like_params
from .stack import Stack, Tree, add_tokens, fresh


class Model(Protocol):
    """What the step needs of a model (no expert axis)."""

    def init(self, key: Array) -> Tree: ...
    def loss(self, params: Tree, tokens_BT: Array) -> tuple[Array, dict[str, Array]]: ...
    def groups(self, params: Tree) -> Tree: ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Controls:
    """What differs between experts in a step, as data: changing it compiles nothing.

    Attributes:
        rate_K: learning rate, float32.
        clip_K: global gradient-norm clip, float32.
        active_K: False keeps an expert's whole state bit for bit, bool.
        tokens_K: tokens the batch adds to the path, int32.
    """

    rate_K: Array
    clip_K: Array
    active_K: Array
    tokens_K: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Metrics:
    """What a step reports of each expert; stays on the device until somebody reads it.

    Attributes:
        loss_K: nats per token of the cross entropy alone.
        grad_norm_K: global gradient norm before the clip.
        skipped_K: steps skipped so far: loss or gradient not finite, or a spike.
    """

    loss_K: Array
    grad_norm_K: Array
    skipped_K: Array


class Trainer:
    """The step of one model under one recipe.

    Args:
        model: see `Model`; static for the compiled step.
        train: the recipe.
        mesh: devices; its expert axis must divide K. None: the first device.
    """

    def __init__(self, model: Model, train: Train, mesh: Mesh | None = None) -> None:
        self.model, self.train, self.placement = model, train, Placement(mesh)
        self._init = jax.jit(self._fresh_stack)
        self._step = jax.jit(self._stack_step, donate_argnums=0)
        self._steps = jax.jit(self._stack_steps, donate_argnums=0)

    @property
    def loop_form(self) -> str:
        """How experts are stepped through: `train.expert_loop`, with "auto" resolved for the devices at hand."""
        asked, groups = self.train.expert_loop, self.placement.expert_groups
        if asked == "dispatch" and groups > 1:
            raise UserError(f"experts lie on {groups} groups of devices, which one program must feed at once",
                            where="train.expert_loop=dispatch", mend="Use scan or vmap.")
        return fastest_loop(self.placement.platform, self.placement.mesh is not None) if asked == "auto" else asked

    @property
    def block(self) -> int:
        """Steps in one dispatch where they are one program: 1 on a mesh, and where "auto" has not been settled."""
        asked = self.train.steps_per_dispatch
        return 1 if asked == "auto" or self.placement.mesh is not None else asked

    def init(self, seed: int | Sequence[int]) -> Stack:
        """A stack of one at token 0; a sequence of seeds gives one expert a seed."""
        seeds = [seed] if isinstance(seed, int) else list(seed)
        seeds_K = np.asarray(seeds, np.uint32)
        # Bound to its device from the start, as every later stack is: else the second step would compile anew.
        return self._init(self.placement.put(seeds_K) if self.placement.mesh is None else seeds_K)

    def _fresh_stack(self, seeds_K: Array) -> Stack:
        params = jax.vmap(lambda seed: self.model.init(jax.random.key(seed)))(seeds_K)
        return self.fresh(params)

    def fresh(self, params: Tree) -> Stack:
        """A stack at token 0 around stacked parameters (to be called under `jit`)."""
        nu = second_moments(self.train, self.model.groups(params), params)
        return self.placement.constrain(fresh(params, first_moments(self.train, params), nu))

    def controls(
        self, rate: np.ndarray, tokens: int, clip_K: np.ndarray | None = None, active_K: np.ndarray | None = None
    ) -> Controls:
        """Controls on the device, in one explicit transfer.

        Args:
            rate: (K,); of a block of steps (P, K), as all that is returned is then.
        """
        shape = rate.shape
        host = (
            np.asarray(rate, np.float32),
            np.full(shape, self.train.clip if clip_K is None else clip_K, np.float32),
            np.full(shape, True if active_K is None else active_K, bool),
            np.full(shape, tokens, np.int32),
        )
        return Controls(*self.placement.put(host))

    def step(self, stack: Stack, tokens_KBT: Array, controls: Controls) -> tuple[Stack, Metrics]:
        """One update of every active expert. The stack given is donated: do not use it again.

        An expert whose loss or gradient is NaN or infinite, or whose gradient norm is a spike (`train.spike`), keeps
        its parameters, moments and count; its path advances (the data was read) and the skip is counted. The others
        are untouched by it, bit for bit.
        """
        with self.placement.active():
            return self._step(stack, tokens_KBT, controls)

    def steps(self, stack: Stack, tokens_PKBT: Array, controls: Controls) -> tuple[Stack, Metrics]:
        """P updates, one after another, in one program; see `step`. On one device.

        Args:
            controls: of each step, (P, K).

        Returns:
            The stack after the last, and metrics (P, K).
        """
        return self._steps(stack, tokens_PKBT, controls)

    def lower(self, stack: Stack, tokens_KBT: Any, controls: Controls) -> jax.stages.Lowered:
        """The step lowered ahead of time; shapes (`jax.ShapeDtypeStruct`) serve for arrays."""
        with self.placement.active():
            return self._step.lower(stack, tokens_KBT, controls)

    def shapes(self, experts: int) -> tuple[Stack, Any, Controls]:
        """What `lower` takes for a stack of `experts`, as shapes with shardings: nothing is allocated."""
        stack = jax.eval_shape(self._fresh_stack, jax.ShapeDtypeStruct((experts,), jnp.uint32))
        tokens = jax.ShapeDtypeStruct((experts, self.train.batch_size, self.train.seq_len + 1), jnp.int32)
        controls: Any = (jax.ShapeDtypeStruct((experts,), kind) for kind in (jnp.float32, jnp.float32, bool, jnp.int32))
        return self.placement.shapes(stack, tokens, Controls(*controls))

    def _stack_step(self, stack: Stack, tokens_KBT: Array, controls: Controls) -> tuple[Stack, Metrics]:
        loop, work = _LOOPS[self.loop_form], (stack, tokens_KBT, controls)
        after, metrics = loop(self._expert_step, work, self.placement.expert_groups)
        return self.placement.constrain(after), metrics

    def _stack_steps(self, stack: Stack, tokens_PKBT: Array, controls: Controls) -> tuple[Stack, Metrics]:
        return lax.scan(lambda stack, work: self._stack_step(stack, *work), stack, (tokens_PKBT, controls))

    def _expert_step(self, expert: Stack, tokens_BT: Array, control: Controls) -> tuple[Stack, Metrics]:
        """The step of one expert: a Stack, Controls and Metrics without their expert axis."""
        objective, loss, grads = self._gradients(expert.params, tokens_BT)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(norm) & jnp.isfinite(objective)
        limit = spike_limit(self.train.spike, expert)
        sound = finite & (norm <= limit)
        scale = control.clip_K / jnp.maximum(norm, control.clip_K)
        grads = jax.tree.map(lambda g: g * scale, grads)
        params, mu, nu = update(
            self.train, self.model.groups(expert.params), expert.params, expert.mu, expert.nu, expert.steps_K, grads,
            control.rate_K,
        )
        moves = sound & control.active_K
        params, mu, nu = _where(moves, (params, mu, nu), (expert.params, expert.mu, expert.nu))
        skipped = expert.skipped_K + (~sound & control.active_K)
        moved = jnp.where(control.active_K, add_tokens(expert.tokens_K2, control.tokens_K), expert.tokens_K2)
        usual = jnp.where(finite & control.active_K, running_mean(expert, jnp.minimum(norm, limit)), expert.norm_K)
        after = Stack(params, mu, nu, moved, expert.steps_K + moves, skipped, usual)
        return after, Metrics(loss, norm, skipped)

    def _gradients(self, params: Tree, tokens_BT: Array) -> tuple[Array, Array, Tree]:
        """Objective, loss and gradients of a batch, in `train.microbatches` parts one after another."""
        value_and_grad = jax.value_and_grad(self.model.loss, has_aux=True)

        def of_part(tokens_BT: Array) -> tuple[Array, Array, Tree]:
            (objective, aux), grads = value_and_grad(params, tokens_BT)
            return objective, aux["loss"], like_params(grads)

        parts = self.train.microbatches
        if parts == 1:
            return of_part(tokens_BT)
        # Window i goes to part i mod M: a device that holds some neighbours has work in every part.
        tokens_MBT = tokens_BT.reshape(-1, parts, tokens_BT.shape[-1]).swapaxes(0, 1)
        zero = (jnp.zeros(()), jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        total, _ = lax.scan(lambda sum, part: (optax.tree.add(sum, of_part(part)), None), zero, tokens_MBT)
        return optax.tree.scale(1 / parts, total)


def _where(condition: Array, new: Tree, old: Tree) -> Tree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


ExpertStep = Callable[[Stack, Array, Controls], tuple[Stack, Metrics]]
Work = tuple[Stack, Array, Controls]


def _vmap(step: ExpertStep, work: Work, groups: int) -> tuple[Stack, Metrics]:
    """All experts in one batched program; the expert axis of every intermediate follows the stack's."""
    return jax.vmap(step, spmd_axis_name="expert" if groups > 1 else None)(*work)


def _scan(step: ExpertStep, work: Work, groups: int) -> tuple[Stack, Metrics]:
    """The experts of a device one after another: an expert's bits do not depend on its neighbours."""
    if groups == 1:
        return _scan_group(step, *work)
    grouped = jax.tree.map(lambda leaf: leaf.reshape(groups, -1, *leaf.shape[1:]), work)
    done = jax.vmap(partial(_scan_group, step), spmd_axis_name="expert")(*grouped)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), done)


def _scan_group(step: ExpertStep, stack: Stack, tokens_KBT: Array, controls: Controls) -> tuple[Stack, Metrics]:
    # The stack is the carry, updated in place: as scanned input and output it would be held twice.
    def one(stack: Stack, work: tuple[Array, Array, Controls]) -> tuple[Stack, Metrics]:
        k, tokens_BT, control = work
        expert = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, k, keepdims=False), stack)
        after, metrics = step(expert, tokens_BT, control)
        write = partial(lax.dynamic_update_index_in_dim, index=k, axis=0)
        return jax.tree.map(write, stack, after), metrics

    return lax.scan(one, stack, (jnp.arange(stack.experts), tokens_KBT, controls))


_LOOPS: dict[str, Callable[..., tuple[Stack, Metrics]]] = {"vmap": _vmap, "scan": _scan, "dispatch": _scan}
"""Of a program over several experts; where the loop dispatches (see `working`), a program has one."""


def fastest_loop(platform: str, meshed: bool) -> str:
    """Measured by tools/bench_experts.py: batched small matmuls are slow on a CPU and feed an accelerator."""
    if platform != "cpu":
        return "vmap"
    return "scan" if meshed else "dispatch"
