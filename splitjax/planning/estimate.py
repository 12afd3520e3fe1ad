"""What a training step needs on a topology, by arithmetic: where no compiler can run, and to rank layouts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from splitjax.config import MeshSizes, Model, Train
from splitjax.model import flops_per_token, n_params_total, work
from splitjax.parallel import AXES, Topology, Traffic, default_sizes, sizes_for
from splitjax.runs.settled import memory_bytes


@dataclass(frozen=True)
class Needs:
    """What a step takes of each device.

    Attributes:
        bytes_per_device: memory at its highest.
        accepted: the compiler did not refuse it.
        executed_flops: with what is computed twice.
        hbm_bytes: read and written.
        collectives: by mesh axis.
        kernels: Pallas kernels run.
    """

    bytes_per_device: int
    accepted: bool
    executed_flops: float
    hbm_bytes: float
    collectives: dict[str, Traffic]
    kernels: int


def mesh_for(train: Train, experts: int, groups: int, topology: Topology) -> dict[str, int]:
    """Devices by axis for a stack of `experts`, as `splitjax run` will lay it out there.

    Args:
        groups: experts of the run; `experts` is 1 for its seed.
    """
    asked = train.mesh
    if asked is None:
        asked = default_sizes(topology.devices, groups)
        across = topology.slices // math.gcd(topology.slices, asked.expert)
        asked = replace(asked, data=across, fsdp=asked.fsdp // across)
    return asdict(sizes_for(asked, experts, train.part_size))


def full_mesh(sizes: Mapping[str, int]) -> dict[str, int]:
    """All axes in order, those left out as 1."""
    return {axis: int(sizes.get(axis, 1)) for axis in AXES}


def of(
    model: Model, train: Train, vocab: int, topology: Topology, experts: int, sizes: dict[str, int]
) -> Needs:
    """The estimate of everything that a compilation would tell."""
    again = work.recomputed_flops_per_token(model, train.seq_len, work.remat_of(train), train.attention)
    per_token = flops_per_token(model, vocab, train.seq_len) + again
    tokens = experts * train.batch_size * train.seq_len / topology.devices
    passes = 2 if train.remat == "none" else 3
    return Needs(
        bytes_per_device=int(memory_bytes(
            model, train, vocab, platform=topology.chip.platform, experts=experts, sizes=MeshSizes(**sizes)
        )),
        accepted=True,
        executed_flops=tokens * per_token,
        hbm_bytes=hbm_bytes(model, train, vocab, topology, experts, sizes),
        collectives=_collectives(model, train, vocab, experts, sizes),
        kernels=experts // sizes["expert"] * model.n_layers * (passes + 1) if train.attention == "splash" else 0,
    )


def hbm_bytes(
    model: Model, train: Train, vocab: int, topology: Topology, experts: int, sizes: dict[str, int]
) -> float:
    """HBM traffic of a device in a step."""
    width = _width(train)
    tokens = experts * train.batch_size * train.seq_len / topology.devices
    weights = n_params_total(model, vocab) / sizes["tensor"] * _local(experts, sizes)
    return tokens * work.traffic_per_token(model, vocab, work.remat_of(train), width) + work.traffic_per_step(
        weights, sizes["fsdp"], width, train.bytes_of_state
    )


def _collectives(
    model: Model, train: Train, vocab: int, experts: int, sizes: dict[str, int]
) -> dict[str, Traffic]:
    """Bytes that a device sends in ring algorithms.

    fsdp: weights gathered forward, for recomputation and backward, gradients summed into shards; shards below 128
    columns are gathered by sums of whole arrays (as XLA for TPU does), at twice the bytes. data: gradients summed.
    Both: the output head's and the embedding's, whole. tensor: activations, twice a block and pass. All of it once a
    microbatch: weights are gathered and gradients summed anew for each.
    """
    parts = train.microbatches
    data, fsdp, tensor = sizes["data"], sizes["fsdp"], sizes["tensor"]
    local, width = _local(experts, sizes), _width(train)
    layers = model.n_layers * work.layer_weights(model) / tensor * local
    ends = vocab * model.d_model * local
    found: dict[str, Traffic] = {}
    if fsdp > 1:
        gathers = 2 if train.remat == "none" else 3
        apart = 2.0 if model.d_model // fsdp < 128 else 1.0
        sent = _kept(fsdp) * (width * layers * (gathers + 1) * apart + 2 * width * ends)
        found["fsdp"] = Traffic(parts * model.n_layers * 7 * (gathers + 1), parts * sent)
    if data > 1:
        found["data"] = Traffic(parts * model.n_layers, parts * 2 * _kept(data) * width * layers / fsdp)
    if data * fsdp > 1:
        both = "+".join(axis for axis in ("data", "fsdp") if sizes[axis] > 1)
        before = found.get(both, Traffic(0, 0.0))
        sent = 2 * _kept(data * fsdp) * (4 + width) * ends
        found[both] = Traffic(before.count + 2 * parts, before.bytes + parts * sent)
    if tensor > 1:
        tokens = local * train.batch_size / (data * fsdp) * train.seq_len  # of all parts together
        passes = 3 if train.remat == "full" else 2
        found["tensor"] = Traffic(
            parts * 2 * passes * model.n_layers,
            4 * passes * model.n_layers * _kept(tensor) * width * tokens * model.d_model,
        )
    return found


def _kept(devices: int) -> float:
    return 1.0 - 1.0 / devices


def _local(experts: int, sizes: dict[str, int]) -> int:
    """Experts on a device."""
    return max(experts // sizes["expert"], 1)


def _width(train: Train) -> int:
    return 2 if train.precision == "bfloat16" else 4
