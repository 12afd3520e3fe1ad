"""Axis names → mesh axes."""

from __future__ import annotations

from jax.sharding import AbstractMesh, PartitionSpec

from splitjax.parallel import AXES, spec_for

MESH = AbstractMesh((2, 2, 4, 2), AXES)


def test_named_axes_go_where_the_rules_say() -> None:
    axes = ("expert", "layers", "embed", "heads")
    assert spec_for(axes, (8, 3, 16, 6), MESH) == PartitionSpec("expert", None, "fsdp", "tensor")
    assert spec_for(("expert", "batch", None), (2, 8, 5), MESH) == PartitionSpec("expert", ("data", "fsdp"), None)


def test_an_axis_that_does_not_divide_stays_whole() -> None:
    assert spec_for(("expert", "embed", "heads"), (1, 6, 6), MESH) == PartitionSpec(None, None, "tensor")


def test_too_few_windows_are_cut_as_finely_as_they_can_be() -> None:
    assert spec_for(("expert", "batch"), (2, 4), MESH) == PartitionSpec("expert", "fsdp")
    assert spec_for(("expert", "batch"), (2, 2), MESH) == PartitionSpec("expert", "data")
    assert spec_for(("expert", "batch"), (2, 3), MESH) == PartitionSpec("expert", None)


def test_a_mesh_axis_is_used_once() -> None:
    assert spec_for(("embed", "embed"), (16, 16), MESH) == PartitionSpec("fsdp", None)
