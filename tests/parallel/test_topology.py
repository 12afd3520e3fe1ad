"""Names of topologies, and the networks between their chips."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest

from splitjax.config import UserError
from splitjax.parallel import Topology, has_compiler


def along(name: str, **sizes: int) -> dict[str, float]:
    return Topology.parse(name).bandwidth({"expert": 1, "data": 1, "fsdp": 1, "tensor": 1} | sizes)


@pytest.mark.parametrize(
    ("name", "devices", "slices"), [("v5p:4x4x4", 64, 1), ("8xv5e:4x4", 128, 8), ("h100:8", 8, 1), ("2xH100:8", 16, 2)]
)
def test_names_are_read(name: str, devices: int, slices: int) -> None:
    topology = Topology.parse(name)
    assert (topology.devices, topology.slices) == (devices, slices)


@pytest.mark.parametrize(
    ("name", "said"),
    [("v5p", "is no topology"), ("v5x:4x4", "no chip 'v5x'"), ("v5p:4x4", "three sides"), ("v5e:4", "two sides")],
)
def test_what_is_no_topology_is_refused(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Topology.parse(name)


def test_a_ring_sends_both_ways_and_a_row_one() -> None:
    link = Topology.parse("v5p:4x4x4").chip.link
    assert along("v5p:4x4x4", fsdp=64)["fsdp"] == 3 * 2 * link
    assert along("v5p:4x4x4", expert=8, fsdp=8)["fsdp"] == (2 + 1) * link
    assert along("v5e:4x4", fsdp=16)["fsdp"] == 2 * Topology.parse("v5e:4x4").chip.link
    assert along("v5e:16x16", fsdp=256)["fsdp"] == 4 * Topology.parse("v5e:4x4").chip.link


def test_slices_and_nodes_talk_over_the_slow_network() -> None:
    slices = along("8xv5e:4x4", expert=8, fsdp=16)
    assert slices["expert"] == Topology.parse("v5e:4x4").chip.outside < slices["fsdp"]
    nodes = along("2xh100:8", data=2, fsdp=8)
    assert nodes["data"] == Topology.parse("h100:8").chip.outside < nodes["fsdp"]


def test_an_axis_of_one_needs_no_network() -> None:
    assert math.isinf(along("v5e:2x2", fsdp=4)["tensor"])


def test_weights_stay_inside_a_slice() -> None:
    with pytest.raises(UserError, match="slices"):
        along("8xv5e:4x4", fsdp=128)


@pytest.mark.skipif(not has_compiler(), reason="libtpu is not installed (pip install splitjax[tpu])")
def test_a_compiler_for_absent_tpus_does_not_show_where_none_is() -> None:
    """libtpu installed, no accelerator: JAX starts on the CPU without a word of it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "TPU_", "TF_"))}
    done = subprocess.run(
        [sys.executable, "-c", "import splitjax, jax; print(jax.devices()[0].platform)"],
        capture_output=True, text=True, env=environment, timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not has_compiler(), reason="libtpu is not installed (pip install splitjax[tpu])")
def test_several_slices_are_cut_between_experts_first() -> None:
    mesh = Topology.parse("2xv5e:2x2").mesh({"expert": 2, "data": 1, "fsdp": 4, "tensor": 1})
    for expert in mesh.devices:
        assert len({device.slice_index for device in expert.flat}) == 1
