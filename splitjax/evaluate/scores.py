"""Losses of K models on the same held-out windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from splitjax.model import LanguageModel
from splitjax.parallel import batch_sharding

Params = Any


@dataclass(frozen=True)
class Scores:
    """Token losses (nats) of K models on W windows of S targets of each of M domains, cut at a prefix.

    A router may read the first `prefix` targets of a window; it is scored on the other `rest`, so that no token is
    scored by a model chosen with sight of it.
    """

    nll_KMWS: NDArray[np.float32]
    prefix: int

    @property
    def experts(self) -> int:
        return self.nll_KMWS.shape[0]

    @property
    def rest(self) -> int:
        return self.nll_KMWS.shape[-1] - self.prefix

    @cached_property
    def prefix_KMW(self) -> NDArray[np.float64]:
        return self.nll_KMWS[..., : self.prefix].sum(-1, dtype=np.float64)

    @cached_property
    def rest_KMW(self) -> NDArray[np.float64]:
        return self.nll_KMWS[..., self.prefix :].sum(-1, dtype=np.float64)

    def table_KM(self) -> NDArray[np.float64]:
        """Nats a token of model k on domain m, over whole windows."""
        return (self.prefix_KMW + self.rest_KMW).mean(-1) / (self.prefix + self.rest)

    def oracle_MW(self, whole: bool = True) -> NDArray[np.float64]:
        """Nats a token of each window under its own domain's expert (or the only model).

        Args:
            whole: over the whole window, else over what follows the prefix.
        """
        own = np.arange(self.nll_KMWS.shape[1]) if self.experts > 1 else np.zeros(self.nll_KMWS.shape[1], int)
        rest_MW = self.rest_KMW[own, np.arange(len(own))]
        if not whole:
            return rest_MW / self.rest
        return (rest_MW + self.prefix_KMW[own, np.arange(len(own))]) / (self.prefix + self.rest)


def score(model: LanguageModel, params_K: Params, tokens_MWT: np.ndarray, prefix: int, batch: int) -> Scores:
    """Score every model of a stack on every domain's windows in one pass over the text.

    Args:
        params_K: parameters with a leading K axis, on one device or on a mesh; on a mesh of several processes all of
            them call this, with the same windows, and all get the result.
        tokens_MWT: W windows of T = S + 1 tokens of each of M domains; M = K where K > 1.
        prefix: predicted tokens that a router may read, below S.
        batch: windows a step.
    """
    domains, windows, length = tokens_MWT.shape
    nll_KUS = all_losses(model, params_K, tokens_MWT.reshape(domains * windows, length), batch)
    return Scores(nll_KUS.reshape(-1, domains, windows, length - 1), prefix)


def all_losses(model: LanguageModel, params_K: Params, tokens_UT: np.ndarray, batch: int) -> NDArray[np.float32]:
    """Token losses (K, U, S) of every model of a stack on the same U windows."""
    experts = jax.tree.leaves(params_K)[0].shape[0]
    return _token_losses(model, params_K, np.broadcast_to(tokens_UT, (experts, *tokens_UT.shape)), batch)


def own_losses(model: LanguageModel, params_K: Params, tokens_MWT: np.ndarray, batch: int) -> np.ndarray:
    """Nats a token of each domain (M,) under its own expert; a stack of one scores them all."""
    return own_losses_of(model, [params_K], tokens_MWT, batch)[0]


def own_losses_of(
    model: LanguageModel, stacks: Sequence[Params], tokens_MWT: np.ndarray, batch: int
) -> list[np.ndarray]:
    """`own_losses` of several stacks of one shape in one pass: nobody waits before all of it is under way."""
    domains, windows, length = tokens_MWT.shape
    made = []
    for params_K in stacks:
        experts = jax.tree.leaves(params_K)[0].shape[0]
        tokens_KUT = tokens_MWT if experts > 1 else tokens_MWT.reshape(1, domains * windows, length)
        made.append([_begin_losses(model, *work, batch) for work in _pieces(params_K, tokens_KUT)])
    nll = (np.concatenate([_fetch(parts) for parts in pieces]) for pieces in made)
    return [nll_KUS.reshape(domains, -1).mean(-1, dtype=np.float64) for nll_KUS in nll]


def _pieces(params_K: Params, tokens_KUT: np.ndarray) -> list[tuple[Params, np.ndarray]]:
    """On one CPU a model at a time, cut out on the host: the program of one serves every stack of its shape."""
    leaf = jax.tree.leaves(params_K)[0]
    if [device.platform for device in leaf.devices()] != ["cpu"]:
        return [(params_K, tokens_KUT)]
    host = jax.tree.map(np.asarray, params_K)

    def of(k: int) -> Params:
        return jax.device_put(jax.tree.map(lambda leaf: leaf[k : k + 1], host), leaf.sharding)

    return [(of(k), tokens_KUT[k : k + 1]) for k in range(len(tokens_KUT))]


def _token_losses(model: LanguageModel, params_K: Params, tokens_KUT: np.ndarray, batch: int) -> np.ndarray:
    """Token losses (K, U, S) of U windows a model, `batch` at a time; the last batch is padded."""
    return _fetch(_begin_losses(model, params_K, tokens_KUT, batch))


def _begin_losses(
    model: LanguageModel, params_K: Params, tokens_KUT: np.ndarray, batch: int
) -> list[tuple[jax.Array, int]]:
    """Losses (K, B, S) of each batch, still on the devices, and how many of its windows count."""
    count, mesh = tokens_KUT.shape[1], mesh_of(params_K)
    batch = min(batch, count)
    parts = []
    for start in range(0, count, batch):
        part_KBT = tokens_KUT[:, start : start + batch]
        missing = batch - part_KBT.shape[1]
        if missing:
            part_KBT = np.pad(part_KBT, ((0, 0), (0, missing), (0, 0)))
        parts.append((_losses_of_batch(model, mesh, params_K, _put(part_KBT, mesh)), batch - missing))
    return parts


def _fetch(parts: list[tuple[jax.Array, int]]) -> np.ndarray:
    """Fetched at the end: the device works on the next batch while nobody waits for this one."""
    return np.concatenate([np.asarray(nll_KBS)[:, :wanted] for nll_KBS, wanted in parts], axis=1)


def mesh_of(params_K: Params) -> Mesh | None:
    """The mesh that the parameters lie on, None for one device."""
    sharding = jax.tree.leaves(params_K)[0].sharding
    mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
    return mesh if isinstance(mesh, Mesh) and mesh.size > 1 else None


def _put(tokens_KBT: np.ndarray, mesh: Mesh | None) -> jax.Array:
    """Windows, the same on every process → devices, experts and windows shared out."""
    if mesh is None:
        return jnp.asarray(tokens_KBT)
    shape = tokens_KBT.shape
    return jax.make_array_from_callback(shape, batch_sharding(mesh, shape), tokens_KBT.__getitem__)


def _losses_of_batch(model: LanguageModel, mesh: Mesh | None, params_K: Params, tokens_KBT: jax.Array) -> jax.Array:
    if mesh is None:
        return _losses(model, None, params_K, tokens_KBT)
    with jax.set_mesh(mesh):
        return _losses(model, mesh, params_K, tokens_KBT)


@partial(jax.jit, static_argnums=(0, 1))
def _losses(model: LanguageModel, mesh: Mesh | None, params_K: Params, tokens_KBT: jax.Array) -> jax.Array:
    # One expert after another keeps the activations of a single model: K may be large, and a CPU is
    # no faster when they are batched.
    def one_after_another(work: tuple[Params, jax.Array]) -> jax.Array:
        return jax.lax.map(lambda one: model.token_losses(*one), work)

    work, experts = (params_K, tokens_KBT), tokens_KBT.shape[0]
    if mesh is None:
        return one_after_another(work)
    groups = mesh.shape["expert"] if experts % mesh.shape["expert"] == 0 else 1
    grouped = jax.tree.map(lambda leaf: leaf.reshape(groups, -1, *leaf.shape[1:]), work)
    # Each group of devices takes its own experts: a loop over all of them would pass every expert around.
    nll_GKBS = jax.vmap(one_after_another, spmd_axis_name="expert" if groups > 1 else None)(grouped)
    nll_KBS = nll_GKBS.reshape(experts, *nll_GKBS.shape[2:])
    return jax.lax.with_sharding_constraint(nll_KBS, NamedSharding(mesh, PartitionSpec()))  # whole on every process
