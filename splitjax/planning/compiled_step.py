"""One training step compiled for hardware that is not here: room, work, talk, and the time they should take."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
from rich.table import Table

from splitjax.config import Config, MeshSizes, Train, UserError
from splitjax.model import LanguageModel, flops_per_token
from splitjax.parallel import Program, Times, Topology, Traffic, by_axis, moved_bytes
from splitjax.runs.settled import settled
from splitjax.train import Trainer

from . import compile_record, estimate
from .flag_groups import GROUPS, default_groups, flags_of


@dataclass(frozen=True)
class Compiled:
    """What a step of a stack needs on each device of a topology.

    Attributes:
        source: `compiled`, or `estimate` where no compiler ran.
        mesh: devices by axis.
        bytes_per_device: arguments, results that reuse none of them, and temporaries.
        fits: the compiler accepted it and it is within the chip's memory.
        flops: useful training FLOPs a device and step (see `model.flops_per_token`).
        executed_flops: with what is computed twice; products and attention kernels as compiled.
        bytes_moved: HBM traffic.
        collectives: executions and bytes sent by a device, by mesh axis.
        kernels: Pallas kernels run (0: attention is not a kernel).
        step_time: seconds, predicted (see `parallel.roofline`).
        bound: what the step waits for.
        tokens_per_s: of all devices together.
        flags: groups of XLA flags that belong to the run (`planning.flag_groups`).
    """

    source: Literal["compiled", "estimate"]
    topology: str
    experts: int
    batch_size: int
    seq_len: int
    remat: str
    mesh: dict[str, int]
    devices: int
    bytes_per_device: int
    fits: bool
    flops: float
    executed_flops: float
    bytes_moved: float
    collectives: dict[str, Traffic]
    kernels: int
    step_time: float
    mfu: float
    bound: str
    efficiency: float
    tokens_per_s: float
    flags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compile_step(
    config: Config,
    topology: str | Topology,
    *,
    experts: int = 1,
    mesh: Mapping[str, int] | None = None,
    analytic: bool = False,
    flags: Sequence[str] | None = None,
) -> Compiled:
    """The step of `experts` models under `config`, compiled ahead of time for a named topology.

    Args:
        topology: `v5p:4x4x4`, `8xv5e:4x4`; `h100:8` has an estimate only.
        experts: K.
        mesh: devices by axis; None: as `train.mesh` says for a run of `data.domains.k` experts.
        analytic: do not compile, estimate.
        flags: names of flag groups (`planning.flag_groups`) to compile under; None: those that suit the run.

    Raises:
        UserError: no such topology, a mesh that does not fit it, or no compiler for it here.
    """
    topology = Topology.parse(topology) if isinstance(topology, str) else topology
    train = config.train
    if mesh is None:
        mesh = estimate.mesh_for(train, experts, config.data.domains.k or experts, topology)
    sizes = estimate.full_mesh(mesh)
    if math.prod(sizes.values()) != topology.devices:
        raise UserError(f"a mesh of {sizes} on {topology.devices} chips", where="train.mesh",
                        mend="Make the product equal.")
    if train.part_size % (sizes["data"] * sizes["fsdp"]):
        raise UserError(
            f"{train.part_size} windows at once for data {sizes['data']} × fsdp {sizes['fsdp']} leave chips idle",
            where="train.batch_size", mend=f"Make it a multiple of {sizes['data'] * sizes['fsdp']}.",
        )
    chip, vocab = topology.chip, config.data.tokenizer.vocab_size
    train = settled(train, config.model, vocab, experts=experts, sizes=MeshSizes(**sizes),
                    device=(chip.platform, chip.memory_bytes))
    if train.attention == "auto":
        train = train.model_copy(update={"attention": "splash" if chip.is_tpu else "cudnn"})
    guess = estimate.of(config.model, train, vocab, topology, experts, sizes)
    if flags is None:
        flags = default_groups(chip.platform, chip=chip.name, remat=train.remat, data=sizes["data"])
    if analytic:
        return _result(config, train, topology, experts, sizes, guess, "estimate", flags)
    found = _compile(config, train, topology, experts, sizes, flags)
    return _result(config, train, topology, experts, sizes, found, "compiled", flags)


def tables(step: Compiled) -> list[Table]:
    """A step for people: what it needs, who talks, and the flags it was compiled under."""
    title = f"{step.experts} x {step.batch_size} x {step.seq_len} tokens on {step.topology} ({step.source})"
    needs = Table(title=title, title_justify="left", show_header=False)
    share = step.executed_flops / step.flops if step.flops else 0.0
    for name, value in {
        "mesh": ", ".join(f"{axis} {size}" for axis, size in step.mesh.items()),
        "memory a device": f"{step.bytes_per_device / 2**30:.2f} GiB: {'fits' if step.fits else 'DOES NOT FIT'}",
        "FLOPs a device": f"{step.flops:.4g} useful, {share:.2f} times that executed (remat {step.remat})",
        "HBM traffic a device": f"{step.bytes_moved / 1e9:,.1f} GB",
        "Pallas kernels": f"{step.kernels}",
        "predicted step": f"{step.step_time:.4f} s, waits for {step.bound}; {step.tokens_per_s:,.0f} tokens/s",
        "predicted MFU": f"{step.mfu:.1%} (assumed: {step.efficiency:.0%} of the chip's published peaks)",
    }.items():
        needs.add_row(name, value)
    talk = Table(title="Collectives of a device and step", title_justify="left")
    for name in ("mesh axis", "count", "sent"):
        talk.add_column(name, justify="left" if name == "mesh axis" else "right")
    for axis, traffic in step.collectives.items():
        talk.add_row(axis, f"{traffic.count:,}", f"{traffic.bytes / 1e9:,.3f} GB")
    return [needs, talk, *([flag_table(step.flags)] if step.flags else [])]


def flag_table(names: Sequence[str]) -> Table:
    """Groups of XLA flags with their reasons; `--json` and `planning.flag_groups` have the flags themselves."""
    table = Table(title="XLA flags", title_justify="left")
    for name in ("group", "reason"):
        table.add_column(name)
    for name in names:
        table.add_row(name, GROUPS[name].reason)
    return table


def _compile(
    config: Config, train: Train, topology: Topology, experts: int, sizes: dict[str, int], flags: Sequence[str]
) -> estimate.Needs:
    """Compile and read what came out, or remember what came out of the same before."""
    vocab, mesh = config.data.tokenizer.vocab_size, topology.mesh(sizes)
    name = compile_record.key(
        model=config.model.model_dump(mode="json"), train=train.model_dump(mode="json", exclude={"seeds"}), vocab=vocab,
        topology=topology.name, experts=experts, mesh=sizes, flags=flags_of("tpu", flags),
    )
    if known := compile_record.recall(name):
        return known
    trainer = Trainer(LanguageModel.under(train, config.model, vocab), train, mesh)
    lowered = trainer.lower(*trainer.shapes(experts))
    try:
        compiled, text = compile_to_text(lowered, flags_of("tpu", flags))
    except Exception as error:  # jaxlib's error type is not public
        return _too_large(error)
    memory: Any = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    program = Program(text)
    kernels = program.kernels("tpu_custom_call")
    needs = estimate.Needs(
        bytes_per_device=int(held + memory.temp_size_in_bytes),
        accepted=True,
        executed_flops=program.flops + sum(times * _kernel_flops(one.attributes, one.name) for one, times in kernels),
        hbm_bytes=moved_bytes(program),
        collectives=by_axis(program.collectives, sizes),
        kernels=sum(times for _, times in kernels),
    )
    compile_record.remember(name, needs)
    return needs


def compile_to_text(lowered: jax.stages.Lowered, flags: Mapping[str, str]) -> tuple[jax.stages.Compiled, str]:
    """A program and its HLO after optimisation.

    The text of some programs cannot be had from `as_text` (jax 0.10.2: asynchronous updates); a dump has it.
    """
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True} | dict(flags)
        compiled = lowered.compile(compiler_options=options)
        dumps = Path(folder).glob("*after_optimizations.txt")
        return compiled, max(dumps, key=lambda path: path.stat().st_size).read_text()


def _kernel_flops(attributes: str, name: str) -> float:
    """FLOPs of a splash kernel by the shape of its queries (…, S, X), the masked half left out: two products forward,
    four in the gradient of keys and values, three in that of queries."""
    products = 3 if "_dq" in name else 4 if "_dkv" in name else 2
    shapes = re.findall(r"\b(?:bf16|f32)\[([0-9,]+)\]", attributes.split("operand_layout_constraints=")[-1])
    *heads, length, width = (int(side) for side in shapes[0].split(","))
    return float(products) * math.prod(heads) * length * length * width


def _too_large(error: Exception) -> estimate.Needs:
    """What the compiler said of a program that does not fit.

    Raises:
        Exception: the error itself, if it is another.
    """
    said = re.search(r"[Uu]sed ([0-9.]+)([KMG]) of [0-9.]+[KMG] hbm", str(error))
    if not said:
        raise error
    size = float(said[1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[said[2]]
    return estimate.Needs(int(size), False, float("nan"), float("nan"), {}, 0)


def _result(
    config: Config, train: Train, topology: Topology, experts: int, sizes: dict[str, int], needs: estimate.Needs,
    source: Literal["compiled", "estimate"], flags: Sequence[str],
) -> Compiled:
    chip, vocab = topology.chip, config.data.tokenizer.vocab_size
    tokens = experts * train.batch_size * train.seq_len
    useful = tokens * flops_per_token(config.model, vocab, train.seq_len) / topology.devices
    sent = {axis: traffic.bytes for axis, traffic in needs.collectives.items()}
    hbm = estimate.hbm_bytes(config.model, train, vocab, topology, experts, sizes)
    times = Times.of(
        chip, flops=needs.executed_flops, hbm_bytes=hbm, sent=sent, bandwidth=topology.bandwidth(sizes)
    )
    step = times.step(chip.efficiency)
    return Compiled(
        source=source, topology=topology.name, experts=experts, batch_size=train.batch_size, seq_len=train.seq_len,
        remat=train.remat, mesh=dict(sizes), devices=topology.devices, bytes_per_device=needs.bytes_per_device,
        fits=needs.accepted and needs.bytes_per_device <= chip.memory_bytes, flops=useful,
        executed_flops=needs.executed_flops, bytes_moved=needs.hbm_bytes, collectives=needs.collectives,
        kernels=needs.kernels, step_time=step, mfu=useful / step / chip.flops, bound=times.bound(chip.efficiency),
        efficiency=chip.efficiency, tokens_per_s=tokens / step, flags=tuple(flags),
    )
