"""Named groups of XLA flags for training, each with the reason to set it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from splitjax.config import UserError, did_you_mean


@dataclass(frozen=True)
class Group:
    """Flags that are set together.

    Attributes:
        on: platform they belong to; a flag of another one stops XLA at start.
        reason: what they change, and when that pays.
        flags: name → value, without dashes.
    """

    on: Literal["tpu", "gpu"]
    reason: str
    flags: dict[str, str]


# Published: MaxText's benchmarks/xla_flags_library.py, JAX's GPU performance tips (docs.jax.dev/en/latest/
# gpu_performance_tips.html). tests/planning/test_xla_flags.py asks the compilers at hand whether they take each.
GROUPS: dict[str, Group] = {
    "vmem": Group("tpu", "Lets a fusion use 96 MiB of on-chip memory instead of 16: larger tiles in dense models; "
                  "published for v6e.",
                  {"xla_tpu_scoped_vmem_limit_kib": "98304"}),
    "async_gather": Group("tpu", "Cuts the gathers of FSDP into steps that run inside the products before them.", {
        "xla_tpu_enable_async_collective_fusion": "true",
        "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
        "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
        "xla_tpu_overlap_compute_collective_tc": "true",
        "xla_enable_async_all_gather": "true",
    }),
    "whole_gathers": Group("tpu", "Gathers a weight before its product instead of cutting the product into as many "
                           "steps as shards, which reads and writes the result again in each: at 16 shards of 2048 "
                           "rows that was three times the HBM traffic (v5e:4x4, 1.3B, as compiled).", {
        "xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000",
    }),
    "reduce_scatter": Group("tpu", "Sums gradients of FSDP straight into shards: an all-reduce followed by a slice "
                            "becomes a reduce-scatter, half the traffic.", {
        "xla_tpu_use_minor_sharding_for_major_trivial_input": "true",
        "xla_tpu_relayout_group_size_threshold_for_reduce_scatter": "1",
        "xla_tpu_assign_all_reduce_scatter_layout": "true",
    }),
    "data_parallel": Group("tpu", "Starts the sum of one layer's gradients while the next layer still computes: for "
                           "`data` above 1, above all between slices.", {
        "xla_tpu_enable_data_parallel_all_reduce_opt": "true",
        "xla_tpu_data_parallel_opt_different_sized_ops": "true",
    }),
    "host_offload": Group("tpu", "Overlaps copies to host memory with work: for `remat: offload`.", {
        "xla_tpu_enable_all_experimental_scheduler_features": "true",
        "xla_tpu_enable_scheduler_memory_pressure_tracking": "true",
        "xla_tpu_host_transfer_overlap_limit": "24",
    }),
    "gpu_overlap": Group("gpu", "Schedules collectives ahead of the work that needs them, and copies of loop bodies "
                         "take turns so that the next layer's gather can start early.", {
        "xla_gpu_enable_latency_hiding_scheduler": "true",
        "xla_gpu_enable_while_loop_double_buffering": "true",
    }),
    "gpu_combine": Group("gpu", "Sends a layer's gathers and sums as one message each: small ones leave NVLink idle. "
                         "The thresholds are above one layer of the largest preset.", {
        "xla_gpu_all_gather_combine_threshold_bytes": "536870912",
        "xla_gpu_reduce_scatter_combine_threshold_bytes": "536870912",
        "xla_gpu_all_reduce_combine_threshold_bytes": "536870912",
    }),
    "gpu_triton": Group("gpu", "cuBLAS for every product: for dense training it is faster than generated kernels.",
                        {"xla_gpu_enable_triton_gemm": "false"}),
}


def default_groups(platform: str, *, chip: str = "", remat: str = "none", data: int = 1) -> tuple[str, ...]:
    """Names of the groups that suit a run.

    Args:
        platform: `tpu` or `gpu`; others need none.
        chip: its name.
        remat: of the recipe.
        data: devices along the data axis.
    """
    unwanted = {"host_offload"} if remat != "offload" else set()
    unwanted |= {"data_parallel"} if data == 1 else set()
    unwanted |= {"vmem"} if chip != "v6e" else set()
    return tuple(name for name, group in GROUPS.items() if group.on == platform and name not in unwanted)


def flags_of(platform: str, names: Iterable[str]) -> dict[str, str]:
    """All flags of named groups.

    Raises:
        UserError: no such group, or one of another platform.
    """
    found: dict[str, str] = {}
    for name in names:
        if name not in GROUPS:
            raise UserError(f"no group of flags '{name}'", mend=did_you_mean(name, GROUPS))
        if GROUPS[name].on != platform:
            raise UserError(f"flags '{name}' are for {GROUPS[name].on}, not {platform}")
        found |= GROUPS[name].flags
    return found


def environment(platform: str, names: Iterable[str]) -> dict[str, str]:
    """The environment variable that sets the flags of a process: TPUs read their own."""
    text = " ".join(f"--{name}={value}" for name, value in flags_of(platform, names).items())
    return {"LIBTPU_INIT_ARGS" if platform == "tpu" else "XLA_FLAGS": text} if text else {}
