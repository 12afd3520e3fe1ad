"""One config in one run folder: what every stage works on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from splitjax.config import Config, UserError
from splitjax.data import Corpus, Manifest
from splitjax.model import n_params_total
from splitjax.parallel import hosts
from splitjax.train import fastest_loop

from .cells import Clock
from .executor import Executor
from .phase_record import identities_of
from .phase_tree import Cell, Phase, grow
from .reporter import Reporter
from .run_folder import RunFolder
from .seed import RECORD, Seed, seed_of
from .sweeping import law_splits
from .sweeping.lane_groups import lane_groups
from .sweeping.sweep_cells import sweep_cells
from .sweeping.sweep_rounds import Rounds


@dataclass
class Job:
    """One config in one run folder."""

    config: Config
    folder: RunFolder
    reporter: Reporter
    command: str = "splitjax.run"
    ran: list[str] = field(default_factory=list)
    """Stages that this process ran (not found done)."""
    redo: str | None = None
    """The stage that is made anew, with all after it."""
    platform: str | None = None
    """What trains, where it is not this process ("cpu", "gpu", "tpu")."""
    rounds: Rounds | None = None
    """Of a sweep that chooses its cells: those chosen so far."""
    _corpus: Corpus | None = None
    _sweep: Executor | None = None

    @property
    def corpus(self) -> Corpus:
        if self._corpus is None:
            _ = self._manifest
            # Hashed once: the other processes read the same files.
            opened = Corpus.open(self.folder.data, verify=hosts.first())
            if self.config.train.mixture is not None:
                self.config.train.mixture.of(opened.domains)  # refuses what does not fit, before anything is trained
            self._corpus = opened
        return self._corpus

    @cached_property
    def seed(self) -> Seed | None:
        """The folder that the run starts from; None: fresh weights."""
        return seed_of(self.config, self.folder)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""
        return self.corpus.vocab_size if self.seed is None else self.seed.vocab_size

    @property
    def _manifest(self) -> Manifest:
        if self._corpus is not None:
            return self._corpus.manifest
        if not (self.folder.data / "manifest.json").exists():
            raise UserError("no prepared data", where=str(self.folder.data), mend="Run 'splitjax prepare' first.")
        return Manifest.load(self.folder.data)

    @property
    def clock(self) -> Clock:
        """By the manifest alone, or before there is one by the config: what only lists cells need not read the data."""
        if (self.folder.data / "manifest.json").exists():
            return Clock.of(self.config, self._manifest.k)
        if self.config.data.domains.k is None:
            raise UserError(
                "no prepared data, so the number of domains is not known", where=str(self.folder.data),
                mend="Run 'splitjax prepare' first, or give data.domains.k.",
            )
        return Clock.of(self.config, self.config.data.domains.k)

    def phases(self, cells: Iterable[Cell]) -> list[Phase]:
        return grow(cells, self.config.train.decay_share)

    @property
    def sweep_cells(self) -> list[Cell]:
        """The cells of the sweep: those chosen so far, or by the law's picks where it asks for them."""
        if self.config.sweep and self.config.sweep.auto:
            return self.rounds_so_far.cells
        return self._named_cells

    @property
    def rounds_so_far(self) -> Rounds:
        """Of a sweep that chooses its cells; none before the first is chosen."""
        return self.rounds or Rounds.load(self.folder.rounds) or Rounds((), ())

    @cached_property
    def _named_cells(self) -> list[Cell]:
        return sweep_cells(self.config, self.clock, law_splits.picks(self.config, self.clock, self.folder))

    @property
    def sweep_phases(self) -> list[Phase]:
        """The tree of the sweep. Seeds are one stack where small batched products are fast: not on a CPU.

        Measured by tools/bench_seeds.py; a function of the sweep and the platform, so a restart finds the same phases.
        """
        if self.config.sweep and self.config.sweep.auto:
            known = self.rounds_so_far
            return grow(known.cells, self.config.train.decay_share, foreseen=known.foreseen)
        return self._named_phases

    @cached_property
    def _named_phases(self) -> list[Phase]:
        cells = self.sweep_cells
        together = any(cell.seed is not None for cell in cells) and self._platform() != "cpu"
        return grow(cells, self.config.train.decay_share, together)

    @property
    def expert_by_expert(self) -> bool:
        """Whether experts are stepped one by one, through one program of a shape."""
        recipe = self.config.train
        fastest = fastest_loop(self._platform(), recipe.mesh is not None)
        loop = fastest if recipe.expert_loop == "auto" else recipe.expert_loop
        return loop == "dispatch" or recipe.placement != "stacked"

    def _platform(self) -> str:
        if self.platform is None:
            import jax

            self.platform = jax.default_backend()
        return self.platform

    def lane_groups(self, phases: Sequence[Phase], part: str = "", *, write: bool = True) -> list[list[Phase]]:
        """The phases of the sweep side by side, as lanes.json says; a part of a sweep has a file of its own.

        Args:
            write: False: what is not stored yet is only told.
        """
        name = "lanes" + "".join(letter if letter.isalnum() else "-" for letter in part)
        experts, vocab = self.clock.experts, self.vocab_size
        return lane_groups(
            self.folder.path / f"{name}.json", phases, lambda phase: phase.stack_size(experts),
            lambda model: n_params_total(model, vocab), write=write,
        )

    def sweep_executor(self) -> Executor:
        """The executor of the sweep's phases, one for all rounds; their checkpoints name the law that picked splits."""
        if self._sweep is None:
            law = law_splits.fix(self.config, self.clock, self.folder)
            lineage = {"law": law} if law else {}
            self._sweep = Executor(
                self.config, self.corpus, self.folder, self.reporter, lineage, self.seed, small=True
            )
        return self._sweep

    def executor(self, **lineage: Any) -> Executor:
        return Executor(self.config, self.corpus, self.folder, self.reporter, lineage, self.seed)

    def main_executor(self, expert: int | None = None) -> Executor:
        """The executor of the main run; its checkpoints name the plan and the law that it followed.

        Args:
            expert: the one that this job trains apart; None: all that is not trained apart.
        """

        def lineage() -> dict[str, str]:
            made = {"plan": self.folder.hash_of(self.folder.plan, "plan")}
            return made | ({"law": self.folder.hash_of(self.folder.law, "fit")} if self.config.sweep else {})

        apart = self.config.train.placement == "separate"
        return Executor(
            self.config, self.corpus, self.folder, self.reporter, hosts.from_first(lineage), self.seed,
            apart=apart, expert=expert,
        )

    def identities(self, phase: Mapping[str, Any]) -> tuple[str, str]:
        """What the record of a phase may say of its numbers, if it was trained by this config on these data.

        Args:
            phase: as JSON has it, see `phase_record.plain`.
        """
        seed = self.seed.hash if self.seed else None
        before = self.folder.recipe_before(self.config.train)
        return identities_of(phase, self.config, before, self._manifest.hash, self._manifest.k, seed)

    def part(self, *keys: str) -> dict[str, Any]:
        tree = self.config.resolved() | {"train": self.config.train.recipe()}
        return {key: tree[key] for key in keys}

    def skip_if_done(self, stage: str, inputs: dict[str, Any]) -> bool:
        before = None
        if "train" in inputs:
            before = inputs | {"train": self.folder.recipe_before(self.config.train)}
        if not hosts.from_first(lambda: self.folder.is_done(stage, inputs, before)):
            return False
        self.reporter.leave(stage)
        self.reporter.say(f"{stage:>8}  done before", "dim")
        return True

    def finish(
        self, stage: str, inputs: dict[str, Any], outputs: list[Path], note: str, *, read: Iterable[Path] = (),
        weights: Iterable[Path] = (),
    ) -> None:
        """Record that a stage has ended, and say so; see `StageRecords.mark_done`."""
        given = [] if self.seed is None else [self.seed.folder / RECORD]
        hosts.from_first(
            lambda: self.folder.mark_done(stage, inputs, outputs, read=[*read, *given], weights=weights)
        )
        self.ran.append(stage)
        self.reporter.finish(note)
