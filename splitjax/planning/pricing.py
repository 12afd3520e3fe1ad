"""What a run costs on a named topology before anything is paid: mesh, placement, memory, time, device-hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from splitjax.config import Config, UserError, format_bytes, format_count
from splitjax.data import Corpus
from splitjax.model import n_params
from splitjax.parallel import Topology
from splitjax.runs.cells import Clock, all_cells, budget_tokens, explicit_fraction, main_cells
from splitjax.runs.phase_tree import Phase, grow, tokens_trained
from splitjax.runs.phase_work import disk_of
from splitjax.runs.plan_record import read_plan
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.sweeping import sweep_cells
from splitjax.runs.sweeping.law_splits import picks
from splitjax.runs.sweeping.sweep_rounds import Rounds

from . import auto_rounds, estimate, layouts
from .auto_question import Question
from .compiled_step import Compiled, compile_step
from .device_time import DeviceTime

GUESS = 0.5
"""The split that is priced before any is known."""


@dataclass(frozen=True)
class Part:
    """One stretch of a run.

    Attributes:
        tokens: trained in it, over all models.
        wall_s: seconds; steps alone: no evaluation, saves or restarts.
        step: of which the times are; None: of several, each estimated.
    """

    name: str
    placement: str
    experts: int
    tokens: int
    wall_s: float
    device_hours: float
    step: Compiled | None


@dataclass(frozen=True)
class Price:
    """The costs of a run.

    Attributes:
        assumed: whether the split is a guess: half, as long as the law of the sweep has not picked.
        source: `compiled`, or `estimate` where no compiler ran.
        parts: seed, experts, baselines, sweep: what `splitjax run` would train, of the first three all training seeds.
        sweep_share: device-hours of the sweep over all.
        placement: what `train.placement` should be: as it is, or serial where the stack does not fit.
        stacked_fits: most experts of this size that fit as one program.
        other: the experts in the other placement, on the same devices.
        epochs: how often each domain's tokens are read by its expert; empty before the data is prepared.
        disk_bytes: what the checkpoints of the run and of its sweep take at most.
    """

    topology: str
    source: str
    split_fraction: float
    assumed: bool
    parts: tuple[Part, ...]
    sweep_share: float
    placement: str
    stacked_fits: int
    other: Part
    epochs: dict[str, float]
    disk_bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def price(
    config: Config, topology: str | Topology, *, analytic: bool = False, told: Callable[[str], None] = lambda text: None
) -> Price:
    """Time and memory of seed, experts, baselines and sweep on a topology.

    Args:
        analytic: estimate instead of compiling.
        told: hears of each compilation.

    Raises:
        UserError: the number of domains is not known.
    """
    topology = Topology.parse(topology) if isinstance(topology, str) else topology
    folder = RunFolder(config.folder)
    corpus, experts = _prepared(config, folder)
    clock = Clock.of(config, experts)
    fraction, assumed = _split(config, folder)
    cells = main_cells(config, clock, fraction)
    planned, quantum = cells["planned"], clock.tokens_per_step

    def step(count: int) -> Compiled:
        told(f"{'estimating' if analytic else 'compiling'} the step of {count} on {topology.name}")
        mesh = estimate.mesh_for(config.train, count, experts, topology)
        return compile_step(config, topology, experts=count, mesh=mesh, analytic=analytic)

    seed = step(1)
    stack = step(experts) if planned.special else seed
    of_all = quantum * config.train.seeds
    branches = experts * planned.special * of_all
    tree = grow(all_cells(config, cells), config.train.decay_share)
    baselines = tokens_trained(tree, experts, quantum) - planned.steps(experts) * of_all
    ways = [_part("experts", "stacked", experts, branches, stack), _part("experts", "serial", 1, branches, seed)]
    if config.train.placement == "serial" or not stack.fits:
        ways.reverse()
    parts = [_part("seed", "all devices", 1, planned.pretrain * of_all, seed), *(ways[:1] if branches else [])]
    parts.append(_part("baselines", "all devices", 1, baselines, seed))
    if config.sweep is not None:
        chosen = auto_rounds.rounds_of(config, clock, folder, config.data.tokenizer.vocab_size)
        small = _sweep_tree(config, clock, folder, chosen)
        parts.append(_sweep(config, clock, chosen, topology, small))
        tree = [*tree, *small]
    return Price(
        topology=topology.name, source=stack.source, split_fraction=fraction, assumed=assumed, parts=tuple(parts),
        sweep_share=_share_of_last(parts) if config.sweep is not None else 0.0,
        placement=ways[0].placement, stacked_fits=_most_stacked(config, topology), other=ways[1],
        epochs=_epochs(corpus, config, planned.special * quantum),
        disk_bytes=disk_of(tree, config, experts, config.data.tokenizer.vocab_size),
    )


def _share_of_last(parts: Sequence[Part]) -> float:
    """Device-hours of the last part over all."""
    hours = sum(part.device_hours for part in parts)
    return parts[-1].device_hours / hours if hours else 0.0


def _split(config: Config, folder: RunFolder) -> tuple[float, bool]:
    """The split of the main run, and whether it is a guess: before a law has picked, half."""
    fraction = explicit_fraction(config)
    if fraction is None and folder.plan.exists():
        fraction = read_plan(folder)["split_fraction"]
    return (GUESS, True) if fraction is None else (float(fraction), False)


def _prepared(config: Config, folder: RunFolder) -> tuple[Corpus | None, int]:
    """The corpus, if it is prepared, and the number of domains."""
    corpus = Corpus.open(folder.data) if (folder.data / "manifest.json").exists() else None
    experts = len(corpus.domains) if corpus else config.data.domains.k
    if not experts:
        mend = "Set it, or run 'splitjax prepare' first."
        raise UserError("the number of domains is not known", where="data.domains.k", mend=mend)
    return corpus, experts


def _part(name: str, placement: str, experts: int, tokens: int, step: Compiled) -> Part:
    wall = tokens / step.tokens_per_s
    return Part(name, placement, experts, tokens, wall, wall * step.devices / 3600, step)


def _sweep_tree(config: Config, clock: Clock, folder: RunFolder, chosen: Rounds | None) -> list[Phase]:
    """The phases of the law's runs, those chosen so far."""
    cells = chosen.cells if chosen else sweep_cells.sweep_cells(config, clock, picks(config, clock, folder))
    return grow(cells, config.train.decay_share)


def _sweep(config: Config, clock: Clock, chosen: Rounds | None, topology: Topology, tree: list[Phase]) -> Part:
    """The law's runs, each size by its own estimate: small models use the hardware less well."""
    tokens = tokens_trained(tree, clock.experts, clock.tokens_per_step)
    hours, name = DeviceTime(config, clock.experts, topology).hours(tree), "sweep"
    if chosen is not None and auto_rounds.rounds_to_come(config, chosen):  # they may take what the price leaves
        asked = Question(config, clock, config.data.tokenizer.vocab_size)
        more = max(1.0, asked.limit / asked.spent(chosen))
        name, tokens, hours = "sweep, at most", round(more * tokens), more * hours
    return Part(name, "one after another", 0, tokens, 3600 * hours / topology.devices, hours, None)


def _most_stacked(config: Config, topology: Topology) -> int:
    """The largest K whose estimate fits; 0: not even one."""
    most = 0
    for count in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
        mesh = estimate.mesh_for(config.train.model_copy(update={"mesh": None}), count, count, topology)
        windows = config.train.batch_size % (mesh["data"] * mesh["fsdp"]) == 0
        if windows and compile_step(config, topology, experts=count, mesh=mesh, analytic=True).fits:
            most = count
    return most


def _epochs(corpus: Corpus | None, config: Config, special: int) -> dict[str, float]:
    if corpus is None:
        return {}
    return {name: special / size for name, size in zip(corpus.domains, corpus.manifest.sizes, strict=True)}


def tables(found: Price, config: Config) -> list[Table]:
    """The costs for people."""
    size, budget = format_count(n_params(config.model)), format_count(budget_tokens(config))
    guess = ", a guess until the law has picked" if found.assumed else ""
    split = f"split at {found.split_fraction:.0%}{guess}"
    seeds = f", {config.train.seeds} training seeds" if config.train.seeds > 1 else ""
    title = f"{size} on {found.topology}, T = {budget}, {split}{seeds} (source: {found.source})"
    table = Table(title=title, title_justify="left")
    for name in ("part", "placement", "mesh", "memory a device", "step", "MFU", "tokens", "wall", "device-hours"):
        table.add_column(name, justify="left" if name in ("part", "placement", "mesh") else "right")
    for part in (*found.parts, found.other):
        step = part.step
        fits = "" if step is None or step.fits else " (too large)"
        table.add_row(
            f"{part.name}{' or' if part is found.other else ''}", part.placement,
            layouts.mesh_words(step.mesh) if step else "", f"{_memory(step.bytes_per_device)}{fits}" if step
            else "", _step(step.step_time) if step else "", f"{step.mfu:.0%}" if step else "",
            format_count(part.tokens), duration(part.wall_s), _hours(part.device_hours),
        )
    total = sum(part.device_hours for part in found.parts)
    table.caption_justify = "left"
    table.caption = (
        f"Together {_hours(total)} device-hours, the sweep {found.sweep_share:.1%} of it. Steps alone: no evaluation, "
        f"saves or restarts. Up to {found.stacked_fits} experts of this size fit stacked. "
        f"Checkpoints take {format_bytes(found.disk_bytes)} on disk."
    )
    if found.placement != config.train.placement:
        table.caption += " These do not: set train.placement=serial."
    short = [f"{name} {times:.1f} times" for name, times in found.epochs.items() if times > 1]
    if short:
        table.caption += f" Tokens are short: read {', '.join(short)}."
    return [table]


def _memory(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"


def _step(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 0.1 else f"{1e3 * seconds:.2g} ms"


def _hours(count: float) -> str:
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def duration(seconds: float) -> str:
    """`3 d 4 h`, `5 h 10 min`, `12 min`, `3 s`."""
    for unit, size, lower, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // small)} {lower}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
