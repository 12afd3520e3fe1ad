"""How fast a config trains on the machine at hand, with the matmul ceiling measured in the same process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from splitjax.config import Config, UserError, format_count
from splitjax.model import LanguageModel, flops_per_token, n_params, n_params_total
from splitjax.parallel import chip_of, keep_freed_memory
from splitjax.runs import provenance
from splitjax.runs.devices import Devices
from splitjax.runs.settled import settled
from splitjax.train import Controls, Trainer, working

from . import kernel_times
from .kernel_times import Kernel

_REPEATS = 5


@dataclass(frozen=True)
class Bench:
    """One measured row.

    Attributes:
        tokens_per_s: of all experts together, median over five groups of steps.
        step_time: seconds.
        compile_time: seconds to trace and compile the step.
        mfu: useful training FLOPs (see `flops_per_token`) over `mfu_of`.
        mfu_of: published peak of the chip where it is known, else the ceiling measured here; FLOP/s.
        matmul_ceiling: best square product in the config's precision, in this process; FLOP/s.
        peak_bytes: device memory, measured where the device counts it, else as the compiler planned it.
        attention: which one ran.
        kernels: of a step, the longest first, where a trace was asked for.
    """

    name: str
    experts: int
    batch_size: int
    seq_len: int
    precision: str
    n_params: int
    n_params_total: int
    tokens_per_s: float
    step_time: float
    compile_time: float
    mfu: float
    mfu_of: float
    matmul_ceiling: float
    peak_bytes: int
    attention: str
    kernels: tuple[Kernel, ...]
    provenance: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def row(self) -> str:
        """A line of a markdown table, header included, to paste into docs/performance.md."""
        made = self.provenance
        cells = {
            "config": f"{self.name} ({format_count(self.n_params_total)})",
            "experts x batch x seq": f"{self.experts} x {self.batch_size} x {self.seq_len}",
            "precision": self.precision,
            "tokens/s": f"{self.tokens_per_s:,.0f}",
            "MFU": f"{self.mfu:.1%} of {self.mfu_of / 1e12:.3g} TFLOP/s",
            "matmul ceiling": f"{self.matmul_ceiling / 1e12:.3g} TFLOP/s",
            "attention": self.attention,
            "memory": f"{self.peak_bytes / 2**30:.2f} GiB",
            "hardware": f"{made['devices']}; {made['hardware']}",
            "commit": made["commit"],
            "command": f"`{made['command']}`",
        }
        rule = ["---"] * len(cells)
        return "\n".join(f"| {' | '.join(line)} |" for line in (cells.keys(), rule, cells.values()))


def bench(
    config: Config, *, experts: int = 1, steps: int = 10, profile: Path | None = None, command: str = "splitjax.bench"
) -> Bench:
    """Time training steps of `config` on random tokens: no data is needed.

    Args:
        experts: size of the stack.
        steps: steps to time, in five groups; a group's are dispatched together, as in training.
        profile: folder for a profiler trace of one more group, which is also read (see `kernel_times`).

    Raises:
        UserError: fewer than one expert or five steps.
    """
    if experts < 1 or steps < _REPEATS:
        raise UserError(f"{experts} experts, {steps} steps", mend=f"At least 1 expert and {_REPEATS} steps.")
    train, vocab = config.train, config.data.tokenizer.vocab_size
    keep_freed_memory()
    run = Runner.of(config, experts)
    run.steps(1)
    each = max(steps // _REPEATS, 1)
    step_time = statistics.median(run.seconds(each) for _ in range(_REPEATS)) / each
    kernels = () if profile is None else traced(run, each, profile)
    ceiling = matmul_ceiling(train.precision)
    chip = chip_of(jax.devices()[0].device_kind)
    peak = chip.flops if chip else ceiling
    tokens_per_s = experts * train.batch_size * train.seq_len / step_time
    return Bench(
        name=config.name,
        experts=experts,
        batch_size=train.batch_size,
        seq_len=train.seq_len,
        precision=train.precision,
        n_params=n_params(config.model),
        n_params_total=n_params_total(config.model, vocab),
        tokens_per_s=tokens_per_s,
        step_time=step_time,
        compile_time=run.compile_time,
        mfu=tokens_per_s * flops_per_token(config.model, vocab, train.seq_len) / peak,
        mfu_of=peak,
        matmul_ceiling=ceiling,
        peak_bytes=run.peak_bytes(),
        attention=run.attention,
        kernels=kernels,
        provenance=provenance.of(command),
    )


def traced(run: Runner, steps: int, folder: Path) -> tuple[Kernel, ...]:
    """Kernels of some more steps, whose trace is kept in `folder`."""
    with jax.profiler.trace(str(folder)):
        run.steps(steps)
    return tuple(kernel_times.kernels(folder, steps))


class Runner:
    """A stack that keeps stepping on one batch: `tokens_KBT`, or random ids."""

    def __init__(self, trainer: Trainer, experts: int, vocab: int, tokens_KBT: np.ndarray | None = None) -> None:
        self.trainer, self.experts, train = trainer, experts, trainer.train
        shape = (experts, train.batch_size, train.seq_len + 1)
        tokens = np.random.default_rng(0).integers(0, vocab, shape, np.int32) if tokens_KBT is None else tokens_KBT
        here, rows = trainer.placement.local(experts, train.batch_size)
        self.tokens_KBT = trainer.placement.put_batch(tokens[here.start : here.stop, rows], experts, train.batch_size)
        self.controls: Controls = trainer.controls(np.full(experts, 1e-4), train.batch_size * train.seq_len)
        stack = trainer.init(range(experts))
        jax.block_until_ready(stack)
        start = time.perf_counter()
        self.working = working(trainer, stack)
        self._planned: Any = self.working.compile(self.tokens_KBT, self.controls).memory_analysis()
        self.compile_time = time.perf_counter() - start

    @classmethod
    def of(cls, config: Config, experts: int = 1, tokens_KBT: np.ndarray | None = None) -> Runner:
        vocab = config.data.tokenizer.vocab_size
        devices = Devices.of(config, experts)
        train = settled(config.train, config.model, vocab, experts=experts, sizes=devices.sizes)
        trainer = Trainer(LanguageModel.under(train, config.model, vocab), train, devices.mesh(experts))
        return cls(trainer, experts, vocab, tokens_KBT)

    @property
    def attention(self) -> str:
        """Which attention a step runs."""
        model, train = self.trainer.model, self.trainer.train
        assert isinstance(model, LanguageModel)
        return model.attention_words(self.experts * train.part_size, train.seq_len)

    def seconds(self, count: int) -> float:
        """Wall time of `count` steps."""
        return _seconds(lambda: self.steps(count))

    def steps(self, count: int) -> None:
        for _ in range(count):
            metrics = self.working.step(self.tokens_KBT, self.controls)
        jax.block_until_ready(metrics)

    def peak_bytes(self) -> int:
        """Device memory at its highest in this process, measured where the device counts it, else planned."""
        stats = jax.devices()[0].memory_stats()
        if stats and "peak_bytes_in_use" in stats:
            return int(stats["peak_bytes_in_use"])
        return self.planned_bytes()

    def planned_bytes(self) -> int:
        """Device memory as the compiler planned it."""
        planned = self._planned
        held = planned.argument_size_in_bytes + planned.output_size_in_bytes - planned.alias_size_in_bytes
        return int(held * self.working.programs + planned.temp_size_in_bytes)


def matmul_ceiling(precision: str) -> float:
    """FLOP/s of the fastest square product among a few sizes: what this machine can give any model."""
    sizes = (1024, 2048) if jax.devices()[0].platform == "cpu" else (4096, 8192, 16384)
    return max(_matmul_rate(size, precision) for size in sizes)


def _matmul_rate(size: int, precision: str) -> float:
    a = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(precision))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    return 2.0 * size**3 / min(_seconds(lambda: jax.block_until_ready(product(a, a))) for _ in range(10))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
