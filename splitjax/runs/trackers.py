"""TensorBoard and Weights & Biases on request. metrics.jsonl is the source of truth; a sink that is missing is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from splitjax.config import Config, hash_json
from splitjax.parallel import hosts
from splitjax.train import PER_EXPERT

from .reporter import Reporter

_NAMES = {"loss": "loss", "grad_norm": "gradient norm", "rate": "learning rate", "skipped": "skipped steps"}


class Sink(Protocol):
    """Takes the rows of metrics.jsonl as they are made."""

    def write(self, phase: str, row: Mapping[str, Any]) -> None:
        """`row` is one step of `phase`."""
        ...


def sinks_of(config: Config, folder: Path, domains: tuple[str, ...], reporter: Reporter) -> list[Sink]:
    """The sinks that the config asks for, opened; one line for each whose package is not there."""
    makers: dict[str, tuple[Callable[[Config, Path, tuple[str, ...]], Sink], str]]
    makers = {"tensorboard": (TensorBoard, "tensorboardX"), "wandb": (WeightsAndBiases, "wandb")}
    found: list[Sink] = []
    for name in config.log if hosts.first() else ():
        maker, package = makers[name]
        try:
            found.append(maker(config, folder, domains))
        except ImportError:
            mend = f"pip install 'splitjax[{name}]'"
            reporter.say_once(f"log: {name} gets nothing, its package {package} is not installed ({mend})")
    return found


def scalars(row: Mapping[str, Any], domains: tuple[str, ...]) -> dict[str, float]:
    """A row as named figures: one a domain where the stack has an expert for each, else one a model."""
    found = {name: float(row[key]) for name, key in _SINGLE.items() if row.get(key) is not None}
    for key in PER_EXPERT:
        values = row[key]
        names = domains if len(values) == len(domains) else tuple(map(str, range(len(values))))
        for name, value in zip(names, values, strict=True):
            if value is not None:
                found[_NAMES[key] if len(values) == 1 else f"{_NAMES[key]}/{name}"] = float(value)
    return found


_SINGLE = {"tokens a second": "tokens_per_s", "MFU": "mfu", "epoch": "epoch"}


class TensorBoard:
    """Event files in <run>/tensorboard/<phase>."""

    def __init__(self, config: Config, folder: Path, domains: tuple[str, ...]) -> None:
        from tensorboardX import SummaryWriter

        self._writer, self._folder, self._domains = SummaryWriter, folder / "tensorboard", domains
        self._open: dict[str, Any] = {}

    def write(self, phase: str, row: Mapping[str, Any]) -> None:
        if phase not in self._open:
            for other in self._open.values():  # one phase trains at a time
                other.close()
            self._open = {phase: self._writer(str(self._folder / phase))}
        for name, value in scalars(row, self._domains).items():
            self._open[phase].add_scalar(name, value, row["tokens"])


class WeightsAndBiases:
    """A run for each phase, grouped by the name of the whole; without credentials kept on disk for `wandb sync`."""

    def __init__(self, config: Config, folder: Path, domains: tuple[str, ...]) -> None:
        import wandb

        self._wandb, self._config, self._folder, self._domains = wandb, config, folder, domains
        self._open: dict[str, Any] = {}

    def write(self, phase: str, row: Mapping[str, Any]) -> None:
        if phase not in self._open:
            for other in self._open.values():
                other.finish()
            self._open = {phase: self._begin(phase)}
        self._open[phase].log({"tokens": row["tokens"], **scalars(row, self._domains)})

    def _begin(self, phase: str) -> Any:
        known = os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE")
        run = self._wandb.init(
            project="splitjax", group=self._config.name, name=phase, id=hash_json([str(self._folder.resolve()), phase]),
            resume="allow", dir=str(self._folder), config=self._config.resolved(), mode=None if known else "offline",
        )
        run.define_metric("*", step_metric="tokens")
        return run
