"""Settings of the recipe: one for every phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from .errors import did_you_mean
from .expert_settings import Experts, ExpertsField, MixtureField
from .settings import Beta, Count, Settings


@dataclass(frozen=True)
class MeshSizes:
    """Devices along each axis of a mesh: groups with different experts, groups that hold the same weights, shards of
    weights and windows, shards of single matrices."""

    expert: int = 1
    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    def __str__(self) -> str:
        return " × ".join(f"{axis} {size}" for axis, size in asdict(self).items())


def _mesh(value: object) -> object:
    """{expert: 8, fsdp: 8}: axes left out are 1."""
    if not isinstance(value, dict):
        return value
    axes = [field.name for field in fields(MeshSizes)]
    for axis, size in value.items():
        if axis not in axes:
            raise ValueError(f"unknown axis '{axis}'. {did_you_mean(str(axis), axes)}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{axis} is {size!r}, not a whole number of devices from 1")
    return MeshSizes(**value)


def _steps(value: object) -> object:
    """So that what is neither of the two is told once, and of both."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"{value!r} is neither auto nor a whole number of steps from 1")


def _dump_mesh(value: MeshSizes | None) -> dict[str, Any] | None:
    return asdict(value) if value else None


OPERATIONAL = (
    "mesh", "placement", "attention", "layers", "remat", "loss_blocks", "microbatches", "expert_loop",
    "steps_per_dispatch", "checkpoint_minutes", "keep_last",
)
"""Keys that say how a step is computed and not what: they may change while a run is stopped."""
SAME_BITS = ("checkpoint_minutes", "keep_last")
"""Those of them that change no bit; the others change the rounding."""
_NEVER_HASHED = {"mesh", "placement", "keep_last", "steps_per_dispatch"}

_UNUSED = {"mixture": None, "moment_dtype": "float32"}
"""Keys that are left out of the recipe where they say this."""

Mesh = Annotated[MeshSizes | None, BeforeValidator(_mesh), PlainSerializer(_dump_mesh)]
Steps = Annotated[Literal["auto"] | Annotated[int, Field(ge=1)], BeforeValidator(_steps)]


class Train(Settings):
    """One recipe for every phase: trunks, branches, experts, baselines."""

    seq_len: int = Field(256, ge=8, description="Tokens a window (S).")
    batch_size: int = Field(16, ge=1, description="Windows a step and model (B).")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="Update rule; muon: of the matrices in the blocks, the rest by AdamW."
    )
    microbatches: int = Field(
        1, ge=1, description="Parts of a batch whose gradients are summed before the update, to save memory."
    )
    learning_rate: float = Field(
        4e-3, gt=0, description="Peak rate at base_width; matrices get rate · base_width / fan-in."
    )
    base_width: int = Field(128, ge=8, description="d_model at which learning_rate was tuned.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled decay of matrices, times the rate.")
    betas: tuple[Beta, Beta] = Field((0.9, 0.98), description="AdamW: decay of the first and the second moment.")
    moment_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Type in which the first moment is kept; bfloat16 spares 2 bytes a parameter in memory "
        "and 4 in each update's traffic."
    )
    clip: float = Field(1.0, gt=0, description="Global gradient-norm clip of each expert.")
    spike: float | None = Field(
        None, gt=1, description="Skip a step whose gradient norm is above this times its running mean (null: never)."
    )
    z_loss: float = Field(1e-4, ge=0, description="Weight of log²Z in the training loss (never in reported losses).")
    warmup: Count = Field(100_000, ge=0, description="Tokens of linear warm-up, from token 0 of a path.")
    schedule: Literal["wsd", "cosine", "constant"] = Field(
        "wsd",
        description="After the warm-up: wsd: constant, then linear to zero; cosine: to zero over the whole path, so no "
        "two lengths of path share a trunk; constant: no decay.",
    )
    decay_fraction: float = Field(0.2, gt=0, le=1, description="wsd: share of the path D + D' that decays the rate.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Compute type; masters stay float32.")
    attention: Literal["auto", "xla", "splash", "cudnn"] = Field(
        "auto", description="splash: on TPU; cudnn: on GPU, in bfloat16; xla: anywhere."
    )
    layers: Literal["auto", "unroll", "scan"] = Field(
        "auto", description="scan compiles one block instead of n_layers; auto: unroll, on accelerators from 33 layers "
        "on scan."
    )
    remat: Literal["auto", "none", "full", "dots", "dots_no_batch", "offload"] = Field(
        "auto",
        description="What backward recomputes: full: all but block inputs; dots: all but products; "
        "dots_no_batch: all but products with weights; offload: named tensors wait in host memory; auto: none, on "
        "accelerators the first of none, dots_no_batch and full that should fit in memory.",
    )
    loss_blocks: int | None = Field(
        None, ge=1, description="Blocks of positions in the vocabulary loss (null: of about 512 tokens each; on a "
        "GPU, of as many as 1/64 of its memory holds the logits of)."
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="Minutes between temporary checkpoints; the next checkpoint replaces them."
    )
    keep_every: Count | None = Field(
        None, ge=1, description="Tokens of a path between checkpoints kept besides splits and ends (null: none); an "
        "expert that skips step after step goes back to one of them."
    )
    keep_last: int | None = Field(
        None, ge=1, description="Most checkpoints of keep_every that a phase keeps, the newest (null: all)."
    )
    mesh: Mesh = Field(
        None, description="Devices by axis, {expert: 8, data: 1, fsdp: 8, tensor: 1}; a stack of one has its experts' "
        "groups as data. null: all devices, as many groups of experts as divide K, each fsdp."
    )
    placement: Literal["stacked", "serial", "separate"] = Field(
        "stacked", description="stacked: all experts in one program; serial: one after another, the rest on disk; "
        "separate: each a job of its own, 'splitjax train CONFIG --expert K' (a sweep's are stacked)."
    )
    mixture: MixtureField = Field(
        None, description="What the trunk reads: weights by domain, {code: 2, prose: 1}; 0: not in the trunk (null: by "
        "the domains' tokens)."
    )
    domain_stream: Literal["continue", "restart"] = Field(
        "continue", description="An expert's text: from where the trunk left its domain, or from its beginning again."
    )
    expert_loop: Literal["auto", "vmap", "scan", "dispatch"] = Field(
        "auto", description="How a device steps through its experts."
    )
    steps_per_dispatch: Steps = Field(
        "auto", description="Steps in one program, where a step takes less than Python's work for it: on one device, "
        "not where experts are dispatched one by one. auto: 8 on one GPU where a step should take under 5 ms, else 1."
    )
    experts: ExpertsField = Field(
        Experts(), description="What single experts have of their own, by domain ('*': all): {code: {rate: 0.5, clip: "
        "0.5}, '*': {patience: 3, every: 1M}}; patience: evaluations without a better validation loss before it stops; "
        "'*'.moments: the optimiser's at the split, inherit (default) or zero."
    )
    seeds: int = Field(
        1, ge=1, description="Times that the main run is trained: with seed, seed + 1, …. The first is the run's, the "
        "others show the noise (a sweep's seeds are sweep.seeds)."
    )

    @model_validator(mode="after")
    def _fits(self) -> Train:
        if self.batch_size % self.microbatches:
            raise ValueError(f"microbatches={self.microbatches} does not divide batch_size={self.batch_size}")
        if self.attention == "cudnn" and self.precision != "bfloat16":
            raise ValueError("attention=cudnn needs precision=bfloat16")
        if self.keep_last and not self.keep_every:
            raise ValueError("keep_last limits what keep_every keeps: give both")
        return self

    @model_serializer(mode="wrap")
    def _without_later_keys(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Where they are not used, the recipe is what it was before there were any: runs that stand go on."""
        return {key: value for key, value in dump(self).items() if _UNUSED.get(key, ...) != value}

    @property
    def part_size(self) -> int:
        """Windows that are on the devices at once, of one model."""
        return self.batch_size // self.microbatches

    @property
    def bytes_of_state(self) -> int:
        """A parameter's: float32 master and second moment, and the first moment."""
        return 8 + (4 if self.moment_dtype == "float32" else 2)

    @property
    def decay_share(self) -> float:
        """Share of a path over which the rate falls: 0 under `constant`."""
        return {"wsd": self.decay_fraction, "cosine": 1.0, "constant": 0.0}[self.schedule]

    def recipe(self) -> dict[str, Any]:
        """What the numbers of one training depend on, but for their rounding: no operational keys, and not `seeds`."""
        return self.model_dump(mode="json", exclude={*OPERATIONAL, "seeds"})

    def recipe_before(self, began: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe as hashes held it before the operational keys were left out of them.

        Args:
            began: operational keys as the run began with them, as JSON; those not given are as they are here.
        """
        own = self.model_dump(mode="json", include=set(OPERATIONAL) - _NEVER_HASHED)
        return self.recipe() | {key: began.get(key, value) for key, value in own.items()}
