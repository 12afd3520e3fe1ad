"""What `train` leaves open ("auto") and the devices settle: how blocks are looped over, what is recomputed, and how
many steps are one program.

None of it changes a result but for its rounding, so a run may be taken up where they are settled otherwise.
"""

from __future__ import annotations

import jax

from splitjax.config import MeshSizes, Model, Train
from splitjax.model import flops_per_token, work
from splitjax.parallel import chip_of, device_here

_UNROLLED = 32
"""Most blocks in one program: 25 of 1.3B compile in 24 s for an H200, each more takes a second."""
REMATS: tuple[work.Remat, ...] = ("none", "dots_no_batch", "full")
"""What is worth trying, from the fastest to the smallest."""
ROOM = 0.9
"""Share of the memory that an estimate may fill: it is within 15 % of what the compiler needs."""

STEPS = 8
"""In one dispatch where steps are short: Python then has the time of eight for its work on one."""
SHORT = 5e-3
"""Seconds of a step, at the chip's peak, under which Python is what it waits for."""


def settled(
    train: Train, model: Model, vocab: int, *, experts: int, sizes: MeshSizes | None,
    device: tuple[str, float | None] | None = None,
) -> Train:
    """The recipe without "auto" in `layers` and `remat`.

    Args:
        experts: of the largest stack of the run: every phase is computed in one way.
        sizes: devices by axis; None: one.
        device: platform and bytes of memory of one; None: of those at hand.
    """
    if "auto" not in (train.layers, train.remat):
        return train
    platform, memory = device or device_here()
    changes: dict[str, str] = {}
    if train.layers == "auto":
        changes["layers"] = "scan" if platform != "cpu" and model.n_layers > _UNROLLED else "unroll"
    if train.remat == "auto":
        now = train.model_copy(update=changes)
        changes["remat"] = _first_that_fits(now, model, vocab, experts, sizes or MeshSizes(), platform, memory)
    return train.model_copy(update=changes)


def steps_settled(
    train: Train, model: Model, vocab: int, *, experts: int, meshed: bool, kind: str | None = None
) -> Train:
    """The recipe without "auto" in `steps_per_dispatch`: several on one GPU that is known, where a step is short.

    Args:
        experts: of the run: its trunks make as many steps in a dispatch as its experts, whichever comes first.
        meshed: whether stacks lie on a mesh.
        kind: of the device, as JAX names it; None: of that at hand.
    """
    if train.steps_per_dispatch != "auto":
        return train
    chip = chip_of(kind or jax.local_devices()[0].device_kind)
    models = experts if train.placement == "stacked" else 1
    flops = models * train.batch_size * train.seq_len * flops_per_token(model, vocab, train.seq_len)
    several = chip is not None and chip.platform == "gpu" and not meshed and flops < SHORT * chip.flops
    return train.model_copy(update={"steps_per_dispatch": STEPS if several else 1})


def _first_that_fits(
    train: Train, model: Model, vocab: int, experts: int, sizes: MeshSizes, platform: str, memory: float | None
) -> work.Remat:
    if platform == "cpu" or memory is None:
        return "none"
    for remat in REMATS:
        tried = train.model_copy(update={"remat": remat})
        if memory_bytes(model, tried, vocab, platform=platform, experts=experts, sizes=sizes) <= ROOM * memory:
            return remat
    return REMATS[-1]


_TPU_COPIES = 18.0
"""Bytes a parameter of a device's share that a TPU program holds besides where it loops over wholly recomputed blocks:
weights and gradients in a second layout. 17 to 20 in compiled programs of 1.3B and 2.7B on v5e and v6e."""


def memory_bytes(model: Model, train: Train, vocab: int, *, platform: str, experts: int, sizes: MeshSizes) -> float:
    """Highest memory of a device in a step of a stack (see `work.memory_bytes`).

    Args:
        experts: of the stack.
    """
    windows, shards = train.part_size / (sizes.data * sizes.fsdp), sizes.fsdp * sizes.tensor
    remat = work.remat_of(train)
    one = work.memory_bytes(
        model, vocab, tokens=windows * train.seq_len, remat=remat, shards=shards, tensor=sizes.tensor,
        width=2 if train.precision == "bfloat16" else 4, bytes_of_state=train.bytes_of_state,
        platform=platform,
    )
    if platform == "tpu" and remat == "full" and train.layers == "scan":
        one += _TPU_COPIES * model.n_layers * work.layer_weights(model) / shards
    return max(experts // sizes.expert, 1) * one
