"""TensorBoard and Weights & Biases on request. metrics.jsonl is the source of truth; a sink that fails is told, tried
again, and never the end of training."""

from __future__ import annotations

import netrc
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from splitjax.config import Config, hash_json
from splitjax.parallel import hosts
from splitjax.train import PER_EXPERT

_NAMES = {"loss": "loss", "grad_norm": "gradient norm", "rate": "learning rate", "skipped": "skipped steps"}
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 600.0
_MOST_KEPT = 100_000
"""Rows kept for a sink that does not answer."""


class Sink(Protocol):
    """Takes the rows of metrics.jsonl as they are made."""

    def write(self, phase: str, row: Mapping[str, Any]) -> None:
        """`row` is one step of `phase`."""
        ...


Make = Callable[[Config, Path, tuple[str, ...]], Sink]


class Told(Protocol):
    """Who hears of what a tracker cannot do (`Reporter`)."""

    def say_once(self, text: str, style: str = "") -> None: ...


def sinks_of(config: Config, folder: Path, domains: tuple[str, ...], reporter: Told) -> list[Sink]:
    """The sinks that the config asks for; one line for each whose package is not there."""
    makers: dict[str, tuple[Make, str]]
    makers = {"tensorboard": (TensorBoard, "tensorboardX"), "wandb": (WeightsAndBiases, "wandb")}
    found: list[Sink] = []
    for name in config.log if hosts.first() else ():
        maker, package = makers[name]

        def make(maker: Make = maker) -> Sink:
            return maker(config, folder, domains)

        try:
            found.append(Patient(name, make, reporter))
        except ImportError:
            mend = f"pip install 'splitjax[{name}]'"
            reporter.say_once(f"log: {name} gets nothing, its package {package} is not installed ({mend})")
    return found


class Patient:
    """A sink that may fail: told once, its rows kept and tried again after a while, each time twice as long.

    Args:
        make: opens it.
        clock: seconds; injected so that tests need not sleep.

    Raises:
        ImportError: its package is not there.
    """

    def __init__(
        self, name: str, make: Callable[[], Sink], reporter: Told, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._make, self._reporter, self._clock = name, make, reporter, clock
        self._kept: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=_MOST_KEPT)
        self._pause, self._not_before = _FIRST_PAUSE, float("-inf")
        self._sink: Sink | None = None
        try:
            self._sink = make()
        except ImportError:
            raise
        except Exception as error:
            self._failed(error)

    def write(self, phase: str, row: Mapping[str, Any]) -> None:
        self._kept.append((phase, row))
        if self._clock() < self._not_before:
            return
        try:
            self._sink = self._sink or self._make()
            while self._kept:
                self._sink.write(*self._kept[0])
                self._kept.popleft()
            self._pause = _FIRST_PAUSE
        except Exception as error:  # whatever a service or its package does wrong is no fault of the run
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        first = (str(error).splitlines() or [""])[0]
        self._reporter.say_once(f"log: {self._name} fails ({type(error).__name__}: {first:.200}); training goes on, "
                                "metrics.jsonl has every row, and it is tried again")
        self._sink, self._not_before = None, self._clock() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)


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
            # A resumed phase makes the steps after its checkpoint again: what was shown of them goes.
            self._open = {phase: self._writer(str(self._folder / phase), purge_step=row["tokens"])}
        for name, value in scalars(row, self._domains).items():
            self._open[phase].add_scalar(name, value, row["tokens"])


class WeightsAndBiases:
    """A run for each phase, grouped; without credentials kept on disk for `wandb sync`."""

    def __init__(self, config: Config, folder: Path, domains: tuple[str, ...]) -> None:
        import wandb

        self._wandb, self._config, self._folder, self._domains = wandb, config, folder, domains
        self._open: dict[str, Any] = {}
        self._seen = -1

    def write(self, phase: str, row: Mapping[str, Any]) -> None:
        if phase not in self._open:
            for other in self._open.values():
                other.finish()
            self._open = {phase: self._begin(phase)}
            # A resumed phase makes the steps after its checkpoint again, to the same bits.
            self._seen = _number(getattr(self._open[phase], "summary", None))
        if row["tokens"] > self._seen:
            self._open[phase].log({"tokens": row["tokens"], **scalars(row, self._domains)})

    def _begin(self, phase: str) -> Any:
        asked, own = self._config.wandb, self._config.name
        run = self._wandb.init(
            project=asked.project, entity=asked.entity, group=asked.group or own,
            name=asked.name.replace("{phase}", phase).replace("{run}", own), tags=list(asked.tags) or None,
            id=hash_json([str(self._folder.resolve()), phase]), resume="allow", dir=str(self._folder),
            config=self._config.resolved(), mode=None if logged_in() else "offline",
        )
        run.define_metric("*", step_metric="tokens")
        return run


def logged_in() -> bool:
    """Whether Weights & Biases can be reached by a key: in the environment, or of a login in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError, RuntimeError, ValueError):
        return False


def _number(summary: Any) -> int:
    """Tokens of the last row that a run of W&B has."""
    try:
        return int(summary.get("tokens"))
    except (AttributeError, TypeError, ValueError):
        return -1
