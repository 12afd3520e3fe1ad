"""Meshes and placements, on eight virtual CPU devices in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import MeshSizes, UserError
from splitjax.parallel import default_sizes, make_mesh, sizes_for

_ON_EIGHT_DEVICES = """
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
from splitjax import config
from splitjax.model import LanguageModel, logical_axes
from splitjax.parallel import batch_sharding, make_mesh, tree_shardings

model = LanguageModel(config.Model(d_model=16, n_layers=2, n_heads=2, d_ff=24), 32)
stack = jax.vmap(model.init)(jax.random.split(jax.random.key(0), 2))
tokens = np.random.default_rng(0).integers(0, 32, (2, 4, 17)).astype(np.int32)
step = jax.jit(jax.vmap(jax.value_and_grad(model.loss, has_aux=True), spmd_axis_name="expert"))
wanted = step(stack, tokens)
for sizes in (dict(expert=2, data=2, fsdp=2), dict(expert=2, fsdp=2, tensor=2), dict(expert=1, tensor=2, data=4)):
    mesh = make_mesh(**sizes)
    placed = jax.device_put(stack, tree_shardings(stack, logical_axes, mesh))
    with jax.set_mesh(mesh):
        got = step(placed, jax.device_put(tokens, batch_sharding(mesh, tokens.shape)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, wanted)
    gate = placed["layers"]["ffn"]["gate"]["kernel"]
    shards = {shard.data.size for shard in gate.addressable_shards}
    kept = mesh.shape["expert"] * mesh.shape["fsdp"] * mesh.shape["tensor"]
    assert shards == {gate.size // kept}, (sizes, shards)
print("equal on every mesh")
"""


def test_every_mesh_gives_the_same_losses_and_gradients() -> None:
    done = subprocess.run([sys.executable, "-c", _ON_EIGHT_DEVICES], capture_output=True, text=True, timeout=300)
    assert "equal on every mesh" in done.stdout, done.stderr


def test_one_device_is_a_mesh_of_ones() -> None:
    assert dict(make_mesh().shape) == {"expert": 1, "data": 1, "fsdp": 1, "tensor": 1}


def test_a_mesh_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"expert 3 .* is 3 devices, 1 are here"):
        make_mesh(expert=3)


def devices_of(sizes: MeshSizes) -> int:
    return prod((sizes.expert, sizes.data, sizes.fsdp, sizes.tensor))


counts = st.integers(1, 64)


@given(devices=counts, experts=counts, stack=counts, windows=counts)
def test_every_stack_uses_every_device(devices: int, experts: int, stack: int, windows: int) -> None:
    sizes = default_sizes(devices, experts)
    found = sizes_for(sizes, stack, windows)
    assert devices_of(found) == devices_of(sizes) == devices
    assert stack % found.expert == 0, "a device holds whole experts"
    assert found.fsdp == sizes.fsdp


def test_the_groups_of_experts_become_data_of_the_seed() -> None:
    sizes = MeshSizes(expert=8, fsdp=8)
    assert sizes_for(sizes, 8, 64) == sizes
    assert sizes_for(sizes, 1, 64) == MeshSizes(expert=1, data=8, fsdp=8)
    assert sizes_for(sizes, 1, 16) == MeshSizes(expert=1, data=2, fsdp=8, tensor=4), "too few windows for more data"
    assert sizes_for(sizes, 6, 64) == MeshSizes(expert=2, data=4, fsdp=8)


def test_without_a_mesh_in_the_config_experts_get_groups_of_their_own() -> None:
    assert default_sizes(8, 4) == MeshSizes(expert=4, fsdp=2)
    assert default_sizes(8, 3) == MeshSizes(fsdp=8)
    assert default_sizes(2, 8) == MeshSizes(expert=2)
