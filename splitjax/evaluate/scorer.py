"""Texts of any length under K models of one stack: batched, padded on the right, few shapes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from splitjax.model import LanguageModel

from .scores import Params, mesh_of

Ids = Sequence[int]
TOKENS_A_BATCH = 4096


@dataclasses.dataclass(frozen=True)
class Told:
    """What models said of one text of S targets, each under its context to the left.

    Attributes:
        nll_KS: nats, one row a model asked.
        greedy_KS: whether it is the token that greedy decoding would give.
    """

    nll_KS: NDArray[np.float32]
    greedy_KS: NDArray[np.bool_]


class Scorer:
    """Scores token sequences; a shape is compiled once, and there is one a bucket of lengths.

    Args:
        params_K: parameters with a leading K axis.
        window: the most targets that a sequence may have (the model's context).
    """

    def __init__(self, model: LanguageModel, params_K: Params, window: int) -> None:
        # A bucket's length need not be a multiple of the training run's blocks.
        self.model = dataclasses.replace(model, loss_blocks=None)
        self.params_K, self.window, self.mesh = params_K, window, mesh_of(params_K)
        self.experts: int = jax.tree.leaves(params_K)[0].shape[0]

    def all(self, texts: Sequence[Ids]) -> list[Told]:
        """Every text under every model, in one pass over the texts."""
        return self._run(texts, range(len(texts)), np.arange(self.experts))

    def under(self, texts: Sequence[Ids], expert_U: Sequence[int]) -> list[Told]:
        """Each text under the one model named for it."""
        told: dict[int, Told] = {}
        for expert in sorted(set(map(int, expert_U))):
            ours = [index for index, other in enumerate(expert_U) if other == expert]
            told |= zip(ours, self._run(texts, ours, np.array([expert])), strict=True)
        return [told[index] for index in range(len(texts))]

    def _run(self, texts: Sequence[Ids], chosen: Sequence[int], experts_E: NDArray[np.integer]) -> list[Told]:
        waiting = []
        with jax.set_mesh(self.mesh) if self.mesh else contextlib.nullcontext():
            for indices, tokens_BT in self._batches(texts, chosen):
                # Results are fetched after the last batch was sent off: the device never waits for the host.
                found = _scores(self.model, self.mesh, self.params_K, self._put(experts_E), self._put(tokens_BT))
                waiting.append((indices, found))
        told: dict[int, Told] = {}
        for indices, found in waiting:
            nll_EBS, greedy_EBS = jax.device_get(found)
            for row, index in enumerate(indices):
                targets = max(len(texts[index]) - 1, 0)
                told[index] = Told(nll_EBS[:, row, :targets], greedy_EBS[:, row, :targets])
        return [told[index] for index in chosen]

    def _put(self, array: NDArray[np.integer]) -> jax.Array:
        """The same on every device."""
        if self.mesh is None:
            return jnp.asarray(array)
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        return jax.make_array_from_callback(array.shape, everywhere, array.__getitem__)

    def _batches(self, texts: Sequence[Ids], chosen: Sequence[int]) -> Iterator[tuple[list[int], NDArray[np.int32]]]:
        """Texts of like length together (B, T); what is missing is id 0, which nothing to its left sees."""
        buckets: dict[int, list[int]] = {}
        for index in chosen:
            buckets.setdefault(self._bucket(max(len(texts[index]) - 1, 1)), []).append(index)
        for targets, indices in sorted(buckets.items()):
            batch = min(_power_of_two(len(indices)), max(1, TOKENS_A_BATCH // targets))
            for start in range(0, len(indices), batch):
                part = indices[start : start + batch]
                tokens_BT = np.zeros((batch, targets + 1), np.int32)
                for row, index in enumerate(part):
                    tokens_BT[row, : len(texts[index])] = texts[index]
                yield part, tokens_BT

    def _bucket(self, targets: int) -> int:
        """The least of 1, 2, 3, 4, 6, 8, 12, … steps that holds them: at most half is padding."""
        if targets > self.window:
            raise ValueError(f"{targets} targets exceed the window of {self.window}")
        step = 128 if jax.default_backend() == "tpu" else 32
        half = _power_of_two(-(-targets // step)) // 2
        size = next(n for n in (half, half + half // 2, 2 * half, 1) if n * step >= targets)
        return min(size * step, self.window)


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


@partial(jax.jit, static_argnums=(0, 1))
def _scores(
    model: LanguageModel, mesh: Mesh | None, params_K: Params, experts_E: jax.Array, tokens_BT: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Losses and greedy flags (E, B, S) of some models; which, is data: another choice compiles nothing."""

    def one(expert: jax.Array) -> tuple[jax.Array, jax.Array]:
        return model.token_scores(jax.tree.map(lambda leaf: leaf[expert], params_K), tokens_BT)

    found = jax.lax.map(one, experts_E)
    if mesh is None:
        return found
    return jax.lax.with_sharding_constraint(found, NamedSharding(mesh, PartitionSpec()))  # whole on every process
