"""Kernels of a trace, by class."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from splitjax.planning.kernel_times import by_class, kernels, kind_of, of_planes, table


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_sm90_tst_256x128_64x4_1x2_h_bz_coopA_NTT", "products"), ("gemm_fusion_dot_452", "products"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16", "attention"),
        ("void cudnn::fusion::compute_dot_do_o_specialized<true, 128>(void const", "attention"),
        ("splash_mha_fwd_residuals", "attention"), ("loop_multiply_fusion_249", "element-wise"),
        ("input_add_reduce_fusion_74", "element-wise"), ("Memset 0", "copies"), ("MemcpyD2D", "copies"),
        ("ncclDevKernel_AllReduce_Sum_bf16", "network"), ("all-gather-start.3", "network"), ("dot.12", "products"),
    ],
)
def test_the_class_of_a_kernel(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def _event(name: str, ms: float, **stats: Any) -> Any:
    return SimpleNamespace(name=name, duration_ns=ms * 1e6, stats=list(stats.items()))


def _plane(name: str, *lines: list[Any]) -> Any:
    return SimpleNamespace(name=name, lines=[SimpleNamespace(name=str(n), events=line) for n, line in enumerate(lines)])


def test_kernels_of_one_device_are_counted_a_step() -> None:
    op = {"hlo_op": "command_buffer"}
    planes = [
        _plane("/host:CPU", [_event("dot", 99.0, hlo_op="dot")]),
        _plane("/device:GPU:0", [_event("nvjet_a", 6.0, **op), _event("nvjet_a", 8.0, **op), _event("module", 50.0)],
               [_event("loop_add_fusion", 4.0, **op)]),
        _plane("/device:GPU:1", [_event("nvjet_a", 6.0, **op)]),
    ]
    found = of_planes(planes, steps=2)
    assert [(one.name, one.calls, round(one.seconds * 1e3, 6)) for one in found] == [
        ("nvjet_a", 1.0, 7.0), ("loop_add_fusion", 0.5, 2.0),
    ]
    assert by_class(found) == pytest.approx({"products": 7e-3, "element-wise": 2e-3})
    told = table(found, 0.010).splitlines()
    assert told[2:] == [
        "| products | 7.0 | 70% | `nvjet_a` 7.0 |", "| element-wise | 2.0 | 20% | `loop_add_fusion` 2.0 |",
        "| none | 1.0 | 10% | |",
    ]


def test_a_trace_of_this_machine_is_read(tmp_path: Path) -> None:
    product = jax.jit(lambda x: jnp.tanh(x @ x))
    x = jnp.ones((256, 256))
    product(x).block_until_ready()
    with jax.profiler.trace(str(tmp_path)):
        product(x).block_until_ready()
    assert by_class(kernels(tmp_path, 1))
    assert kernels(tmp_path / "none", 1) == []
