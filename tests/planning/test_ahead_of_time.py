"""The large programs, compiled for TPUs that are not here: minutes each."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from splitjax.config import load
from splitjax.parallel import Topology, has_compiler
from splitjax.planning import compiled_step, estimate, layouts

from .expert_axis import crossing_kinds

CONFIGS = Path(__file__).parents[2] / "configs" / "tpu"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not has_compiler(), reason="libtpu is not installed (pip install splitjax[tpu])"),
]


@functools.cache
def compiled(name: str, topology: str, experts: int, *overrides: str) -> compiled_step.Compiled:
    return compiled_step.compile_step(load(CONFIGS / f"{name}.yaml", list(overrides)), topology, experts=experts)


def guess(name: str, topology: str, experts: int, *overrides: str) -> compiled_step.Compiled:
    config = load(CONFIGS / f"{name}.yaml", list(overrides))
    return compiled_step.compile_step(config, topology, experts=experts, analytic=True)


DOTS = "train.remat=dots_no_batch"
NONE = "train.remat=none"
CHOSEN = [
    ("1.3B_x8_v5e", "v5e:4x4", ("train.batch_size=16", "train.mesh={data: 2, fsdp: 8}", NONE)),
    ("1.3B_x8_v5p", "v5p:4x4x4", ("train.batch_size=128", "train.mesh={data: 16, fsdp: 4}", NONE)),
    ("1.3B_x8_v6e", "v6e:4x4", ("train.batch_size=32", "train.mesh={data: 2, fsdp: 8}", NONE)),
    ("2.7B_x8_v5e", "v5e:4x4", ("train.batch_size=16", "train.mesh={fsdp: 16}", DOTS, "train.seq_len=4096")),
    ("2.7B_x8_v5p", "v5p:4x4x4", ("train.batch_size=128", "train.mesh={data: 16, fsdp: 4}", NONE)),
    ("2.7B_x8_v6e", "v6e:4x4", ("train.batch_size=32", "train.mesh={data: 2, fsdp: 8}", DOTS)),
]
"""What the search ranks first for one model of sequence 4096."""


@pytest.mark.parametrize(("name", "topology", "overrides"), CHOSEN, ids=lambda value: value if value else "-")
def test_the_search_chooses_these(name: str, topology: str, overrides: tuple[str, ...]) -> None:
    config = load(CONFIGS / f"{name}.yaml", list(overrides))
    best = layouts.rank(config, Topology.parse(topology), 1, 4096)[0]
    assert (best.batch_size, best.remat) == (config.train.batch_size, config.train.remat)
    assert best.mesh == estimate.mesh_for(config.train, 1, 1, Topology.parse(topology))


@pytest.mark.parametrize(("name", "topology", "overrides"), CHOSEN, ids=lambda value: value if value else "-")
def test_a_model_fits_with_splash_attention_and_the_flops_of_the_count(
    name: str, topology: str, overrides: tuple[str, ...]
) -> None:
    """At 4,096 tokens a chip and step or more; the estimate of the memory within 15 %."""
    found, said = compiled(name, topology, 1, *overrides), guess(name, topology, 1, *overrides)
    assert found.seq_len == 4096
    assert found.batch_size * found.seq_len >= 4096 * found.devices
    assert found.fits
    assert found.kernels >= 3 * 25, "a forward and two backward kernels in every layer"
    assert found.executed_flops == pytest.approx(said.executed_flops, rel=0.03)
    assert said.bytes_per_device == pytest.approx(found.bytes_per_device, rel=0.15)
    assert 0.2 < found.mfu < 0.8


def test_eight_experts_on_one_slice_never_talk_and_their_seed_is_as_fast() -> None:
    stack, seed = compiled("2.7B_x8_v5p", "v5p:4x4x4", 8), compiled("2.7B_x8_v5p", "v5p:4x4x4", 1)
    assert stack.collectives
    assert not [axis for axis in stack.collectives if "expert" in axis]
    assert stack.fits
    assert stack.mesh["expert"] == 8
    said = guess("2.7B_x8_v5p", "v5p:4x4x4", 8)
    assert said.bytes_per_device == pytest.approx(stack.bytes_per_device, rel=0.15)
    assert seed.devices == 64
    assert seed.mesh["data"] * seed.mesh["fsdp"] == 64, "every chip has windows of its own"
    assert 1 / seed.tokens_per_s <= 1.1 / stack.tokens_per_s


def test_a_wrong_sharding_of_the_same_stack_is_caught() -> None:
    """The step of the test above, two layers deep, and one that looks at its neighbours' losses."""
    config = load(CONFIGS / "2.7B_x8_v5p.yaml", ["model={preset: 2.7B, n_layers: 2}", "train.batch_size=8"])
    assert crossing_kinds(config, "v5p:4x4x4", 8, wrong=True)
    assert not crossing_kinds(config, "v5p:4x4x4", 8, wrong=False)


def test_experts_on_slices_of_their_own_send_nothing_between_slices() -> None:
    stack = compiled("1.3B_x8_v5e", "8xv5e:4x4", 8)
    assert stack.devices == 128
    assert stack.fits
    assert stack.collectives.keys() == {"fsdp"}
    said = guess("1.3B_x8_v5e", "8xv5e:4x4", 8)
    assert said.bytes_per_device == pytest.approx(stack.bytes_per_device, rel=0.15)


@pytest.mark.parametrize(
    ("name", "topology"),
    [
        ("1.3B_x8_v5p", "v5p:4x4x4"),
        ("1.3B_x8_v6e", "v6e:8x8"),
        ("2.7B_x8_v5e", "8xv5e:4x4"),
        ("2.7B_x8_v6e", "v6e:8x8"),
    ],
)
def test_the_memory_of_the_other_presets_is_estimated_too(name: str, topology: str) -> None:
    found, said = compiled(name, topology, 8), guess(name, topology, 8)
    assert found.fits
    assert said.bytes_per_device == pytest.approx(found.bytes_per_device, rel=0.15)


def test_bf16_counts_are_those_of_the_unrolled_program() -> None:
    """The correction for loops, against a small model without any."""
    overrides = ("model={preset: 10M, n_layers: 3}", "train.batch_size=16", "train.seq_len=512")
    looped = compiled("1.3B_x8_v5e", "v5e:2x2", 1, *overrides)
    unrolled = compiled("1.3B_x8_v5e", "v5e:2x2", 1, *overrides, "train.layers=unroll", "train.loss_blocks=1")
    assert looped.executed_flops == pytest.approx(unrolled.executed_flops, rel=1e-6)
