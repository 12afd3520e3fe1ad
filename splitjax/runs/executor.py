"""Train the phases of a tree, each once, and measure the cells that end in them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from splitjax import __version__
from splitjax.config import Config, Model, UserError, did_you_mean, disk_errors, hash_file, write_record
from splitjax.data import Corpus, Stacked, Stream
from splitjax.data import stack as stack_streams
from splitjax.evaluate import own_losses, own_losses_of
from splitjax.model import LanguageModel, flops_per_token
from splitjax.parallel import hosts, keep_freed_memory
from splitjax.train import (
    EarlyStop,
    Part,
    Stack,
    Trainer,
    checkpoint,
    finished,
    path_tokens,
    run_expert,
    run_phase,
    starts,
    wall,
)
from splitjax.train import Phase as Stretch

from . import program_cache
from .cells import Clock, budget_tokens
from .devices import Devices, check_memory, layout_words
from .phase_record import FORMAT, LOG, Losses, identities_of, losses_of, plain, read_done, read_phase
from .phase_tree import Cell, Phase
from .phase_watch import TimeLog, Watch
from .phase_work import work_of, work_of_step
from .reporter import Reporter
from .run_folder import RunFolder
from .seed import Seed
from .settled import settled, steps_settled
from .sweeping.lane_groups import may_be_lanes
from .telling.phase_words import phase_words
from .telling.time_left import Load
from .trackers import sinks_of


@dataclass
class Executor:
    """Runs phases of one recipe on one corpus, in a run folder; of several processes all of them, together."""

    config: Config
    corpus: Corpus
    folder: RunFolder
    reporter: Reporter
    lineage: Mapping[str, Any]
    """What the checkpoints say of where the split came from (law hash, plan hash)."""
    seed: Seed | None = None
    """The folder that the trunk starts from; None: fresh weights."""
    small: bool = False
    """Whether these are a sweep's: what ends a path is measured and never trained on, so no moments are kept of it."""
    apart: bool = False
    """Whether `placement: separate` holds: of the main run, whose experts are jobs of their own."""
    expert: int | None = None
    """The expert that this job trains, where it trains one apart."""

    def __post_init__(self) -> None:
        program_cache.use()
        self.clock = Clock.of(self.config, len(self.corpus.domains))
        self._trainers: dict[tuple[Model, Mesh | None], Trainer] = {}
        self._begun: set[tuple[Model, int]] = set()
        self._recipe = self.config.train
        if self._recipe.placement == "separate" and not self.apart:
            self._recipe = self._recipe.model_copy(update={"placement": "stacked"})
        self._devices = Devices.of(self.config, self.clock.experts if self.expert is None else 1)
        for domain in self._recipe.experts.domains:
            if domain not in self.corpus.domains:
                known = did_you_mean(domain, self.corpus.domains)
                raise UserError(f"no domain '{domain}'", where="train.experts", mend=known)
        mixture = self._recipe.mixture
        self._weights = mixture.of(self.corpus.domains) if mixture else None
        if note := self._devices.note:
            self.reporter.say_once(note)
        self._held_out: np.ndarray | None = None
        keep_freed_memory()
        self.sinks = sinks_of(self.config, self.folder.path, self.corpus.domains, self.reporter)

    def run(self, phases: Iterable[Phase]) -> Losses:
        """Train what is not done.

        Returns:
            Validation losses (nats a token, by domain) of every cell that ends here, by cell id.
        """
        losses: Losses = {}
        for phase in phases:
            losses |= self.attempt(phase)
        return losses

    def attempt(self, phase: Phase) -> Losses:
        """Train one phase, if it is not done; its parent must be.

        Returns:
            As `run`.
        """
        measured = hosts.from_first(partial(self.recorded, phase))
        if measured is None:
            with disk_errors(self.path(phase.name)):
                return self._train(phase)
        self.skip(phase)
        return measured

    def skip(self, phase: Phase, of: int = 1) -> None:
        """Tell of a phase that is done, one of so many that start together."""
        work = work_of([phase], self.config, self.clock.experts, self.vocab_size)
        self.reporter.skip(phase.name, Load(work, 1 / of))

    @property
    def together(self) -> bool:
        """Whether phases may be lanes of one stack: on one device, and none has a pace of its own."""
        return self._devices.sizes is None and may_be_lanes(self._recipe)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding; a folder's may be padded beyond its tokenizer."""
        return self.corpus.vocab_size if self.seed is None else self.seed.vocab_size

    def begin_apart(self, phase: Phase) -> None:
        """Say what a phase of experts will be, before their jobs start."""
        hosts.from_first(partial(self.begin, phase))

    def experts_left(self, phase: Phase) -> list[int]:
        """The experts of a phase whose jobs have not come to their end."""
        if self.recorded(phase) is not None:
            return []
        stretch, count = self._stretch(phase), self.clock.experts
        return [k for k in range(count) if not finished(self.path(phase.name), stretch, count, k)]

    def train_apart(self, phase: Phase, expert: int) -> None:
        """Train one expert of a phase, in this job alone, unless it has come to its end.

        Raises:
            UserError: its seed has not been trained by this recipe.
        """
        path, stretch = self.path(phase.name), self._stretch(phase)
        if not (path / "phase.json").exists() or read_phase(path)["identity"] not in self._identities(phase):
            raise UserError("its seed is not trained", where=f"expert {expert}", mend="Run 'splitjax train' first.")
        if not hosts.from_first(lambda: finished(path, stretch, self.clock.experts, expert)):
            self.reporter.now(f"{self._words(phase)}, {self.corpus.domains[expert]} alone")
            streams = self._streams(phase).pick([expert])
            with self.watch([phase]) as watch:
                run_expert(
                    self.trainer(phase), self._start(phase), streams, stretch, path, expert, meta=self._meta(phase),
                    on_step=watch.on_step, early=self._early(phase),
                )

    def model(self, shape: Model) -> LanguageModel:
        """The language model of a shape under this recipe."""
        experts = 1 if self.config.train.placement == "serial" else self.clock.experts
        train = settled(self.config.train, shape, self.vocab_size, experts=experts, sizes=self._devices.sizes)
        return LanguageModel.under(train, shape, self.vocab_size, transfer=self.seed is None, end_id=self.corpus.end_id)

    def stack_at(self, phase: Phase, position: int) -> Stack:
        """A saved stack of a finished phase."""
        place = self.trainer(phase).placement.leaf
        return checkpoint.restore(self._checkpoint(phase.name, position), sharding=place)[0]

    def stack_of(self, phase: Phase, cell: Cell) -> Stack:
        """What a cell of a finished phase ended with: one model, or its experts."""
        return self._of_cell(phase, cell, self.stack_at(phase, phase.stop))

    def seen(self, phase: Phase, stack: Stack) -> list[int]:
        """Path tokens of each model of a stack, on every process."""
        return [int(tokens) for tokens in path_tokens(stack, self.trainer(phase).placement)]

    def path(self, name: str) -> Path:
        return self.folder.phase(name)

    def held_out(self, part: str) -> np.ndarray:
        """The windows (M, W, T) that every model is scored on."""
        count, length = self.config.evaluate.windows, self.config.train.seq_len
        return np.stack([self.corpus.held_out(part, domain, count, length) for domain in self.corpus.domains])

    def _train(self, phase: Phase) -> Losses:
        hosts.from_first(partial(self.begin, phase))
        self.reporter.now(self._words(phase))
        self._tell_if_moved(phase)
        stack = self._run_phase(phase)
        (measured,) = self.measure([(phase, stack)])
        hosts.from_first(partial(self.end, phase, measured))
        return measured

    def _words(self, phase: Phase) -> str:
        budget = self.clock.budget(budget_tokens(self.config)) if "plan" in self.lineage else None
        return phase_words(phase, self.clock.tokens_per_step, budget)

    def begin(self, phase: Phase) -> None:
        """Record what the phase is; remove what another recipe left in its place."""
        path, identities = self.path(phase.name), self._identities(phase)
        if (path / "phase.json").exists() and read_phase(path)["identity"] not in identities:
            shutil.rmtree(path)
        for ending in ("done.json", "failed.json"):  # until it has ended anew
            (path / ending).unlink(missing_ok=True)
        write_record(path / "phase.json", {"format": FORMAT, "identity": identities[0], "phase": plain(phase)})

    def end(self, phase: Phase, measured: Losses) -> None:
        """Record that it is done, and what its cells measured."""
        path = self.path(phase.name)
        done = {"format": FORMAT, "identity": self._identities(phase)[0], "stop": phase.stop, "validation": measured}
        write_record(path / "done.json", done | {"log": hash_file(path / LOG)})

    def _tell_if_moved(self, phase: Phase) -> None:
        """Say it where a phase is taken up on other devices than it was saved on."""
        now, folder = layout_words(self.trainer(phase).placement.mesh), self.path(phase.name) / "checkpoints"
        before = hosts.from_first(lambda: checkpoint.last_meta(folder).get("layout", now))
        if before != now:
            words = self._words(phase)
            self.reporter.say(f"{words}: resumed on {now}, saved on {before}: the same batches, other rounding")

    def _run_phase(self, phase: Phase) -> Stack:
        part = self.part(phase)
        with self.watch([phase]) as watch:
            return run_phase(
                self.trainer(phase), part.begin, part.stream, part.phase, part.folder, meta=part.meta,
                on_step=watch.on_step, early=self._early(phase),
            )

    def part(self, phase: Phase, done: bool = False) -> Part:
        """A phase as training takes it; `done`: one that is over."""
        begin, stretch, folder = self._start(phase), self._stretch(phase), self.path(phase.name)
        return Part(begin, self._streams(phase), stretch, folder, self._meta(phase), done)

    def watch(self, phases: Sequence[Phase]) -> Watch:
        """What hears of every step of a phase, or of several of one shape."""
        phase = phases[0]
        models = [1 if self.expert is not None else each.stack_size(self.clock.experts) for each in phases]
        program = phase.model, 1 if self.trainer(phase).loop_form == "dispatch" else sum(models)
        new = program not in self._begun
        self._begun.add(program)
        mesh = self.trainer(phase).placement.mesh
        return Watch(
            self.folder, self.reporter, self.sinks, phases, models, new=new,
            work=work_of_step(phase.model, self.config, self.clock, self.vocab_size),
            flops=flops_per_token(phase.model, self.vocab_size, self.config.train.seq_len),
            step_tokens=self.clock.tokens_per_step, devices=1 if mesh is None else mesh.size,
        )

    def _start(self, phase: Phase) -> starts.Start:
        trainer = self.trainer(phase)
        if phase.parent is None and self.seed is not None:
            return starts.imported(trainer, self.seed.params, self.seed.lineage(), len(phase.seeds))
        if phase.parent is None:
            return starts.init(trainer, self._seeds(phase))
        parent = self._checkpoint(phase.parent, phase.start)
        if phase.splits:
            moments = self._recipe.experts.moments
            return starts.split(trainer, parent, self.clock.experts, seeds=len(phase.seeds), moments=moments)
        if self.expert is not None:
            return starts.branch_apart(trainer, parent, self.clock.experts)
        return starts.branch(trainer, parent)

    def _seeds(self, phase: Phase) -> list[int]:
        return [self.config.seed if seed is None else seed for seed in phase.seeds]

    def _checkpoint(self, name: str, position: int) -> Path:
        """A checkpoint of a phase, not one that was copied into its folder."""
        path = checkpoint.at(self.path(name) / "checkpoints", position * self.clock.tokens_per_step)
        return checkpoint.belongs(path, read_phase(self.path(name))["identity"], self.expert)

    def _stretch(self, phase: Phase) -> Stretch:
        decay_from, decay_to = map(self._tokens, phase.decay) if phase.decay else (None, None)
        return Stretch(
            start=self._tokens(phase.start), stop=self._tokens(phase.stop), origin=self._tokens(phase.split_at or 0),
            decay_from=decay_from, decay_to=decay_to, save_at=tuple(map(self._tokens, phase.save_at)),
            closed=self.small and phase.decay is not None and phase.stop == phase.decay[1],
            **self._own_settings(phase),
        )

    def _own_settings(self, phase: Phase) -> dict[str, tuple[float, ...]]:
        """Rate and clip of each expert, where `train.experts` gives them."""
        if phase.on == "mixture" or not self._recipe.experts.given:
            return {}
        own = [self._recipe.experts.of(domain) for domain in self.corpus.domains] * len(phase.seeds)
        clip = self._recipe.clip
        return {
            "rate": tuple(each.rate for each in own),
            "clip": tuple(clip if each.clip is None else each.clip for each in own),
        }

    def _early(self, phase: Phase) -> EarlyStop | None:
        """When experts stop before the end; None where `train.experts` does not say."""
        experts = self._recipe.experts
        if phase.on == "mixture" or experts.every is None:
            return None
        windows, batch, model = self._validation(), self.config.train.batch_size, self.model(phase.model)

        def losses(stack: Stack, wanted: Sequence[int]) -> np.ndarray:
            return own_losses(model, stack.params, windows[list(wanted)], batch)

        patience_K = tuple(experts.of(domain).patience for domain in self.corpus.domains)
        return EarlyStop(self._tokens(self.clock.steps(experts.every)), patience_K, losses)

    def _validation(self) -> np.ndarray:
        if self._held_out is None:
            self._held_out = self.held_out("validation")
        return self._held_out

    def _tokens(self, steps: int) -> int:
        return steps * self.clock.tokens_per_step

    def _streams(self, phase: Phase) -> Stacked:
        """The mixture from step 0, or from the split each domain on from where the trunk left it; seed by seed."""
        return stack_streams([stream for seed in self._seeds(phase) for stream in self._streams_of(phase, seed)])

    def _streams_of(self, phase: Phase, seed: int) -> list[Stream]:
        batch, length = self.config.train.batch_size, self.config.train.seq_len
        if phase.split_at is None:
            return [self.corpus.mixture(batch, length, seed, self._weights)]
        seen_K = self.corpus.mixture_counts(phase.split_at * batch, length, seed, self._weights)
        if self.config.train.domain_stream == "restart":
            seen_K = np.zeros_like(seen_K)
        return [self.corpus.domain(k, batch, length, seed, start=int(seen)) for k, seen in enumerate(seen_K)]

    def measure(self, ended: Sequence[tuple[Phase, Stack]]) -> list[Losses]:
        """Validation losses of the cells that end with these phases of one shape, in one pass."""
        places = [(at, cell) for at, (phase, _) in enumerate(ended) for cell in phase.ends]
        found: list[Losses] = [{} for _ in ended]
        if not places:
            return found
        times, began = TimeLog(self.folder, *dict.fromkeys(ended[at][0].name for at, _ in places)), time.monotonic()
        with wall.spent("evaluation"):
            # A seed's models are neighbours in the stack.
            params = [self._of_cell(ended[at][0], cell, ended[at][1]).params for at, cell in places]
            model, batch = self.model(ended[0][0].model), self.config.train.batch_size
            losses = own_losses_of(model, params, self._validation(), batch)
        for (at, cell), each in zip(places, losses, strict=True):
            found[at][cell.id] = dict(zip(self.corpus.domains, map(float, each), strict=True))
        times.write()
        self.reporter.beside(time.monotonic() - began)
        return found

    def _of_cell(self, phase: Phase, cell: Cell, stack: Stack) -> Stack:
        """The models of one cell, laid out as a stack is."""
        size = stack.experts // len(phase.seeds)
        if size == stack.experts:
            return stack
        first, place = phase.seeds.index(cell.seed) * size, self.trainer(phase).placement.constrain
        return jax.jit(lambda whole: place(jax.tree.map(lambda leaf: leaf[first : first + size], whole)))(stack)

    def recorded(self, phase: Phase) -> Losses | None:
        """Validation losses of a finished phase, or None where it is not finished (or for another recipe)."""
        path = self.path(phase.name)
        if not (path / "done.json").exists():
            return None
        record = read_done(path)
        if record.get("identity") not in self._identities(phase) or record.get("stop") != phase.stop:
            return None
        if not set(map(self._tokens, phase.save_at)) <= set(checkpoint.saved(path / "checkpoints")):
            return None  # another cell leaves it where nothing was saved
        return losses_of(record, [cell.id for cell in phase.ends])

    def _identities(self, phase: Phase) -> tuple[str, str]:
        seed = self.seed.hash if self.seed else None
        before = self.folder.recipe_before(self.config.train)
        manifest, experts = self.corpus.manifest.hash, self.clock.experts
        return identities_of(plain(phase), self.config, before, manifest, experts, seed)

    def _meta(self, phase: Phase) -> dict[str, Any]:
        return {
            "splitjax": __version__,
            "config": self.config.resolved(),
            "phase": plain(phase),
            "layout": layout_words(self.trainer(phase).placement.mesh),
            "domains": list(self.corpus.domains) if phase.on == "domains" else None,
            "lineage": {"parent": phase.parent, "at_step": phase.start, "split_at": phase.split_at, **self.lineage},
            "tokenizer": self.corpus.tokenizer.hash,
            "manifest": self.corpus.manifest.hash,
            "identity": read_phase(self.path(phase.name))["identity"],
        }

    def trainer(self, phase: Phase) -> Trainer:
        """One trainer a shape and mesh, so that each program compiles once; experts apart are stacks of one."""
        stacked = self._recipe.placement == "stacked"
        size = phase.stack_size(self.clock.experts) if stacked else 1
        mesh = self._devices.mesh(size)
        key = phase.model, mesh
        check_memory(phase.model, self._recipe, self.vocab_size, size, mesh.size if mesh else 1)
        if key not in self._trainers:
            experts, meshed = self.clock.experts, mesh is not None
            train = steps_settled(self._recipe, phase.model, self.vocab_size, experts=experts, meshed=meshed)
            self._trainers[key] = Trainer(self.model(phase.model), train, mesh)
        return self._trainers[key]
