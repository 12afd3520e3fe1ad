"""How the blocks are run: looped or scanned, and what a backward pass keeps of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
from jax import Array
from jax.ad_checkpoint import checkpoint_name

Layers = Literal["unroll", "scan"]
Remat = Literal["none", "full", "dots", "dots_no_batch", "offload"]
Params = dict[str, Any]

_OFFLOADED = ("block_input", "query", "key", "value", "attention", "gate", "up")
"""Named in `blocks`: enough for a backward pass that computes norms, rotations and products' sums anew."""

_INSTEAD = ("turned",)
"""Kept in place of the product that it is but turned from, for which nobody asks again."""


def apply_layers(
    block: Callable[[Params, Array], Array],
    layers: Params,
    x_BSD: Array,
    *,
    form: Layers,
    remat: Remat,
) -> Array:
    """`block` once for each layer of `layers` (leading axis L), in turn.

    Args:
        form: "unroll" is one program as long as the model; "scan" compiles one block.
        remat: what the backward pass finds stored (see `_policy`); the rest is computed again.
    """

    def named(layer: Params, x: Array) -> Array:
        return block(layer, checkpoint_name(x, "block_input"))

    # A scan's body runs once, so nothing outside could be merged with the second computation.
    body = named if remat == "none" else jax.checkpoint(named, policy=_policy(remat), prevent_cse=form != "scan")
    if form == "scan":
        return jax.lax.scan(lambda x, layer: (body(layer, x), None), x_BSD, layers)[0]
    for layer in _unstack(layers):
        x_BSD = body(layer, x_BSD)
    return x_BSD


def _policy(remat: Remat) -> Any:
    """full: only block inputs; dots: all products too; dots_no_batch: products with weights; offload: the named
    tensors, in host memory."""
    policies = jax.checkpoint_policies
    instead = policies.save_only_these_names(*_INSTEAD)
    if remat == "dots":
        return policies.save_from_both_policies(policies.dots_saveable, instead)
    if remat == "dots_no_batch":
        return policies.save_from_both_policies(policies.dots_with_no_batch_dims_saveable, instead)
    if remat == "offload":
        return policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=list(_OFFLOADED),
            offload_src="device",
            offload_dst="pinned_host",
        )
    return policies.nothing_saveable


def _unstack(layers: Params) -> list[Params]:
    """One tree a layer. A split: its gradient is one concatenation where indexing's is L padded sums."""
    leaves, tree = jax.tree.flatten(layers)
    split = [[jax.numpy.squeeze(part, 0) for part in jax.lax.split(leaf, (1,) * leaf.shape[0])] for leaf in leaves]
    return [jax.tree.unflatten(tree, layer) for layer in zip(*split, strict=True)]
