"""The fastest way to lay a step on a topology: batch × recomputation × mesh, ranked by arithmetic, few compiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.table import Table

from splitjax.config import Config, UserError, format_count
from splitjax.parallel import Topology
from splitjax.runs.settled import REMATS, ROOM

from .compiled_step import Compiled, compile_step

_WINDOWS = (1, 2, 4, 8)
_COMPILED = 3
_AS_FAST = 1.03


@dataclass(frozen=True)
class Search:
    """Layouts by predicted time a token.

    Attributes:
        best: the fastest that fits, compiled where a compiler is at hand.
        rows: every layout that was compiled, then the estimates, fastest first.
    """

    best: Compiled
    rows: tuple[Compiled, ...]

    def table(self, most: int = 12) -> Table:
        """The first rows for people."""
        table = Table(title=f"Layouts on {self.best.topology}", title_justify="left")
        for name in ("mesh", "remat", "batch", "memory a device", "step", "tokens/s", "MFU", "waits for", "source"):
            table.add_column(name, justify="left" if name in ("mesh", "remat", "source", "waits for") else "right")
        for row in self.rows[:most]:
            table.add_row(
                mesh_words(row.mesh), row.remat, str(row.batch_size), f"{row.bytes_per_device / 2**30:.1f} GiB",
                f"{row.step_time:.3f} s" if row.fits else "too large", format_count(round(row.tokens_per_s))
                if row.fits else "", f"{row.mfu:.1%}" if row.fits else "", row.bound if row.fits else "", row.source,
            )
        return table


def mesh_words(mesh: dict[str, int]) -> str:
    """`expert 8 × fsdp 8`: axes of one device are left out."""
    return " × ".join(f"{axis} {size}" for axis, size in mesh.items() if size > 1) or "one device"


def search(
    config: Config, topology: str | Topology, *, experts: int = 1, analytic: bool = False, min_tokens: int = 0,
    told: Callable[[str], None] = lambda text: None,
) -> Search:
    """Rank batch × remat × mesh, compile from the fastest on until one fits (three at most).

    Of layouts within 3 % of the fastest, the one with the smallest batch, then the least sent, comes first.

    Args:
        experts: K.
        analytic: compile none.
        min_tokens: fewest tokens a chip and step.
        told: hears of each compilation.

    Raises:
        UserError: nothing fits.
    """
    topology = Topology.parse(topology) if isinstance(topology, str) else topology
    ranked = rank(config, topology, experts, min_tokens)
    if not ranked:
        raise UserError(
            f"{experts} experts of this size fit in no layout", where=topology.name,
            mend="Take more chips, or place experts one after another (train.placement=serial).",
        )
    if analytic:
        return Search(ranked[0], tuple(ranked))
    tried: list[Compiled] = []
    for guess in ranked[:_COMPILED]:
        told(f"compiling {mesh_words(guess.mesh)}, remat {guess.remat}, {guess.batch_size} windows")
        tried.append(compile_step(under(config, guess), topology, experts=experts, mesh=guess.mesh))
        if tried[-1].fits:
            return Search(tried[-1], (*reversed(tried), *ranked[len(tried) :]))
    raise UserError(f"the {_COMPILED} layouts that should fit best do not", where=topology.name,
                    mend="Give train.mesh, train.remat and train.batch_size yourself.")


def rank(config: Config, topology: Topology, experts: int, min_tokens: int = 0) -> list[Compiled]:
    """Estimates of all layouts that should fit, fastest first."""
    found = []
    for mesh in meshes(topology, experts):
        for windows in _WINDOWS:
            for remat in REMATS:
                batch = windows * mesh["data"] * mesh["fsdp"] * config.train.microbatches
                tokens = batch * experts * config.train.seq_len / topology.devices
                if tokens < min_tokens:
                    continue
                tried = _with(config, batch, remat)
                found.append(compile_step(tried, topology, experts=experts, mesh=mesh, analytic=True))
    fitting = [one for one in found if one.bytes_per_device <= ROOM * topology.chip.memory_bytes]
    if not fitting:
        return []
    fastest = max(one.tokens_per_s for one in fitting)

    def order(one: Compiled) -> tuple[int, int, float]:
        slower = math.floor(math.log(fastest / one.tokens_per_s) / math.log(_AS_FAST))
        return slower, one.batch_size, sum(traffic.bytes for traffic in one.collectives.values())

    return sorted(fitting, key=order)


def meshes(topology: Topology, experts: int) -> Iterator[dict[str, int]]:
    """Experts as far apart as they go; inside, every data × fsdp × tensor with weights within a slice."""
    expert = math.gcd(experts, topology.devices)
    inside = topology.devices // expert
    per_slice = math.prod(topology.shape)
    across = topology.slices // math.gcd(topology.slices, expert)
    for tensor in (1, 2, 4):
        for fsdp in (n for n in range(1, inside + 1) if inside % n == 0):
            data = inside // fsdp // tensor
            if data * fsdp * tensor == inside and per_slice % (fsdp * tensor) == 0 and data % across == 0:
                yield {"expert": expert, "data": data, "fsdp": fsdp, "tensor": tensor}


def under(config: Config, layout: Compiled) -> Config:
    """The config with a layout's batch and recomputation."""
    return _with(config, layout.batch_size, layout.remat)


def _with(config: Config, batch_size: int, remat: str) -> Config:
    train = config.train.model_copy(update={"batch_size": batch_size, "remat": remat})
    return config.model_copy(update={"train": train})


