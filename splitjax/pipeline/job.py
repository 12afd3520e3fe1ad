"""One config in one run folder: what every stage works on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from splitjax.config import Config, UserError
from splitjax.data import Corpus

from .cells import Clock
from .execute import Executor
from .folder import RunFolder
from .progress import Reporter
from .tree import Cell, Phase, grow


@dataclass
class Job:
    """One config in one run folder."""

    config: Config
    folder: RunFolder
    reporter: Reporter
    command: str = "splitjax.run"
    ran: list[str] = field(default_factory=list)
    """Stages that this process ran (not found done)."""
    _corpus: Corpus | None = None

    @property
    def corpus(self) -> Corpus:
        if self._corpus is None:
            if not (self.folder.data / "manifest.json").exists():
                raise UserError("no prepared data", where=str(self.folder.data), mend="Run 'splitjax prepare' first.")
            self._corpus = Corpus.open(self.folder.data)
        return self._corpus

    @property
    def clock(self) -> Clock:
        return Clock.of(self.config, len(self.corpus.domains))

    def phases(self, cells: Iterable[Cell]) -> list[Phase]:
        return grow(cells, self.config.train.decay_fraction)

    def executor(self, **lineage: Any) -> Executor:
        return Executor(self.config, self.corpus, self.folder, self.reporter, lineage)

    def part(self, *keys: str) -> dict[str, Any]:
        tree = self.config.resolved()
        return {key: tree[key] for key in keys}

    def skip_if_done(self, stage: str, inputs: dict[str, Any]) -> bool:
        if not self.folder.is_done(stage, inputs):
            return False
        self.reporter.say(f"[dim]{stage:>8}  done before[/dim]")
        return True

    def finish(self, stage: str, inputs: dict[str, Any], outputs: list[Any], note: str) -> None:
        self.folder.mark_done(stage, inputs, outputs)
        self.ran.append(stage)
        self.reporter.finish(note)
