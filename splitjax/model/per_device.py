"""Kernels that the compiler cannot cut up by itself: each device runs its own windows and heads."""

from __future__ import annotations

from typing import Any

import jax
from jax import Array
from jax.sharding import PartitionSpec

from splitjax.parallel import spec_for

from .attention import Attend


def on_each_device(attend: Attend, q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, document_BS: Array) -> Array:
    """`attend` on every device of the mesh around the trace (`jax.set_mesh`), of what it holds; no mesh: as it is."""
    mesh: Any = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return attend(q_BSHX, k_BSNX, v_BSNX, document_BS)
    # Keys may have too few heads to share out; then queries stay whole too, or groups would lose their key.
    kv_spec = spec_for(("batch", None, "kv_heads", None), k_BSNX.shape, mesh)
    specs = (PartitionSpec(*kv_spec), kv_spec, kv_spec, PartitionSpec(kv_spec[0], None))
    # The kernels' outputs carry no record of which axes they vary over, so that check must be off.
    mapped = jax.shard_map(attend, mesh=mesh, in_specs=specs, out_specs=kv_spec, check_vma=False)
    return mapped(q_BSHX, k_BSNX, v_BSNX, document_BS)
