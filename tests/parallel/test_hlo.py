"""Compiled programs read as text: who talks, how much is computed, how often a loop runs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax.parallel import Program, by_axis, crossing, moved_bytes
from splitjax.parallel.moved import kernels
from splitjax.parallel.traffic import axes_of

MESH = {"expert": 2, "data": 1, "fsdp": 4, "tensor": 1}


def module(*lines: str) -> Program:
    """An entry computation of these lines."""
    return Program("\n".join(["ENTRY %main (p: f32[8]) -> f32[8] {", *(f"  {line}" for line in lines), "}"]))


def all_reduce(groups: str) -> str:
    return f"%x = (f32[2]{{0}}, /*index=1*/f32[2]{{0}}) all-reduce(%y), channel_id=1, {groups}, to_apply=%add"


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", ("fsdp",)),
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", ("expert",)),
        ("replica_groups=[2,4]<=[8]", ("fsdp",)),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", ("expert",)),
        ("replica_groups=[4,2]<=[2,2,2]T(0,2,1)", ("fsdp",)),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}", ("fsdp",)),
        ("replica_groups=mesh['a'=2,'b'=4] {'a','b'}", ("expert", "fsdp")),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2], device_ids=([2,2,2]T(0,2,1)) {'c'}", ("fsdp",)),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2], device_ids=([2,2,2]T(2,1,0)) {'c'}", ("expert",)),
        ("source_target_pairs={{0,1},{1,0},{4,5}}", ("fsdp",)),
        ("source_target_pairs={{3,4}}", ("expert", "fsdp")),
    ],
)
def test_groups_are_read_in_every_notation(groups: str, axes: tuple[str, ...]) -> None:
    found = module(all_reduce(groups)).collectives
    assert len(found) == 1
    assert axes_of(found[0].groups, MESH) == axes
    assert bool(crossing(found, MESH, "expert")) == ("expert" in axes)


def test_traffic_is_what_a_device_sends_times_how_often() -> None:
    groups = "replica_groups={{0,1,2,3},{4,5,6,7}}"
    program = module(
        "%p = f32[256]{0} parameter(0)",
        f"%gather = f32[1024]{{0}} all-gather(%p), channel_id=1, {groups}, dimensions={{0}}",
        f"%sum = f32[256]{{0}} all-reduce(%p), channel_id=2, {groups}, to_apply=%add",
        "%alone = f32[256]{0} all-reduce(%p), channel_id=3, replica_groups={{0},{1}}, to_apply=%add",
    )
    traffic = by_axis(program.collectives, MESH)
    assert traffic.keys() == {"fsdp"}
    assert traffic["fsdp"].count == 2
    assert traffic["fsdp"].bytes == 1024 * 4 * 3 / 4 + 256 * 4 * 2 * 3 / 4


def test_the_parts_of_one_collective_count_once_and_equal_channels_apart() -> None:
    groups = "replica_groups={{0,1,2,3},{4,5,6,7}}"
    part = f"f32[8]{{0}} all-gather(%p), channel_id=7, {groups}, frontend_attributes={{chain_id=\"3\"}}"
    other = f"f32[4]{{0}} all-reduce(%p), channel_id=7, {groups}, to_apply=%add"
    assert len(module(f"%a = {part}", f"%b = {part}", f"%c = {other}", f"%d = {other}").collectives) == 3


def test_loops_count_as_often_as_they_run() -> None:
    """Against a plain count, and against the same program unrolled."""
    rows, width, layers = 8, 16, 5
    weights = jnp.ones((layers, width, width))

    def scanned(x: jax.Array, weights: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    def unrolled(x: jax.Array, weights: jax.Array) -> jax.Array:
        for layer in range(layers):
            x = jnp.tanh(x @ weights[layer])
        return x

    x = jnp.ones((rows, width))
    counts = [Program(jax.jit(f).lower(x, weights).compile().as_text()).flops for f in (scanned, unrolled)]
    assert counts == [2.0 * rows * width * width * layers] * 2


def test_a_convolution_counts_only_what_it_touches() -> None:
    """How TPUs write a batched product: the batch as a spatial axis, mostly padding."""
    program = module(
        "%a = bf16[4,8,16]{2,1,0} parameter(0)",
        "%b = bf16[4,16,32]{2,1,0} parameter(1)",
        "%c = bf16[4,8,32]{2,1,0} convolution(%a, %b), window={size=4 stride=3 pad=0_0 lhs_dilate=4}, "
        "dim_labels=0bf_0io->0bf",
    )
    assert program.flops == 2.0 * 4 * 8 * 16 * 32


def test_the_trip_count_of_a_tpu_loop_is_its_bound() -> None:
    program = Program("""
%body (p: (s32[], f32[2,2])) -> (s32[], f32[2,2]) {
  %x = f32[2,2]{1,0} parameter(0)
  %y = f32[2,2]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
%condition (p: (s32[], f32[2,2])) -> pred[] {
  %bound = u32[]{:T(128)} constant(12)
  ROOT %lt = pred[] compare(%i, %bound), direction=LT
}
ENTRY %main (p: f32[2,2]) -> f32[2,2] {
  %w = (s32[], f32[2,2]{1,0}) while(%t), condition=%condition, body=%body
}
""")
    assert program.flops == 12 * 2 * 8


def test_moved_bytes_count_slices_not_the_arrays_they_are_cut_from() -> None:
    program = Program("""
%inside (p0: f32[100,64], p1: s32[]) -> f32[64] {
  %p0 = f32[100,64]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %cut = f32[1,64]{1,0} dynamic-slice(%p0, %p1), dynamic_slice_sizes={1,64}
  ROOT %r = f32[64]{0} bitcast(%cut)
}
ENTRY %main (a: f32[100,64]) -> f32[64] {
  %a = f32[100,64]{1,0} parameter(0)
  %i = s32[] constant(3)
  %f = f32[64]{0} fusion(%a, %i), kind=kLoop, calls=%inside
  %near = f32[64]{0:T(128)S(1)} add(%f, %f)
}
""")
    assert moved_bytes(program) == 64 * 4 + 64 * 4 + 4 + 2 * 64 * 4  # slice, result, index; then two reads on chip


def test_kernels_name_every_array_they_move() -> None:
    program = Program("""
%inside (p0: bf16[4,64]) -> (bf16[2,64], f32[64]) {
  %p0 = bf16[4,64]{1,0} parameter(0)
  %cut = bf16[2,64]{1,0} slice(%p0), slice={[0:2], [0:64]}
  %sum = f32[64]{0} constant({...})
  ROOT %both = (bf16[2,64]{1,0}, f32[64]{0}) tuple(%cut, %sum)
}
ENTRY %main (a: bf16[4,64]) -> (bf16[2,64], f32[64]) {
  %a = bf16[4,64]{1,0} parameter(0)
  ROOT %f = (bf16[2,64]{1,0}, f32[64]{0}) fusion(%a), kind=kLoop, calls=%inside
}
""")
    [(kernel, times, arrays)] = kernels(program)
    assert (kernel.name, times) == ("f", 1)
    assert arrays == [("bf16[4,64]{1,0}", 2 * 64 * 2), ("bf16[2,64]{1,0}", 2 * 64 * 2), ("f32[64]{0}", 64 * 4)]
    assert moved_bytes(program) == 2 * 64 * 2 * 2 + 64 * 4


def test_a_real_program_moves_its_operands_and_result() -> None:
    x = jnp.ones((64, 64), np.float32)
    program = Program(jax.jit(lambda x: x @ x + 1).lower(x).compile().as_text())
    assert moved_bytes(program) >= 2 * x.nbytes
