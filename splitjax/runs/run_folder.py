"""The run folder: where things lie, what is done, and whether the config is still the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import Config, Train, UserError, dump, from_dict, load, read_record, write_atomic, write_record

from . import operational, provenance
from .locks import LOCK, lock
from .operational import Changed
from .stage_records import FORMAT, LAW_AFTER, STAGES, StageRecords

__all__ = ["FORMAT", "LAW_AFTER", "STAGES", "RunFolder"]

# The first stage that each part of the config reaches; a change there makes that stage and all after it stale.
_FIRST_STAGE = {
    "data": "prepare",
    "seed": "prepare",
    "seed_from": "sweep",
    "train": "sweep",
    "train.seeds": "train",
    "sweep": "sweep",
    "topology": "sweep",
    "evaluate.windows": "sweep",
    "law": "fit",
    "model": "plan",
    "budget": "plan",
    "split": "plan",
    "evaluate.compare": "train",
    "evaluate.prefix": "evaluate",
    "evaluate.routers": "evaluate",
    "evaluate.tasks": "evaluate",
}
# What the cells of a sweep that chooses them are chosen for.
_CHOSEN_FOR = ("model", "budget")
_LOGS = "logs"  # where a launcher sends what its jobs print
_PROGRESS = ".progress.json"
"""How far a process at work is; nothing of the run depends on it."""
# Keys that change no number: free to differ between starts.
_FREE = ("name", "run_dir", "log", "wandb", "data.workers", "data.runner")

# The type of ids that was taken where none was given: data that were prepared so go on.
_OLD_DTYPE = ("uint16", None)


class _ConfigRecord(TypedDict):
    config: dict[str, Any]


class RunFolder(StageRecords):
    """Paths and `done` records under `run_dir`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.data = self.path / "data"
        self.seed_from = self.path / "seed_from"
        self.observations = self.path / "observations.csv"
        self.answers = self.path / "answers.csv"
        self.times = self.path / "times.jsonl"
        self.changes = self.path / "changes.json"
        self.changed: Changed = {}
        """Operational keys that `claim` has found changed: dotted key → (before, now)."""
        self.splits = self.path / "splits.json"
        self.rounds = self.path / "sweep.json"
        self.law = self.path / "law.json"
        self.law_after = self.path / "law_after.json"
        self.plan = self.path / "plan.json"
        self.main = self.path / "main.json"
        self.results = self.path / "results.json"
        self.router = self.path / "router"
        self.report = self.path / "report.html"
        self.phases = self.path / "phases"
        self.config = self.path / "config.yaml"
        self.progress = self.path / _PROGRESS
        self._claim = self.path / ".config.json"
        self.locks: tuple[int, ...] = ()
        """Descriptors of the locks held, for child processes to hold them too."""
        self._made_here = False

    def phase(self, name: str) -> Path:
        """Folder of a phase."""
        return self.phases / name

    def router_of(self, cell: str | None) -> Path:
        """Where the router of a cell's experts lies; of the planned ones, None."""
        return self.router / cell if cell else self.router

    def claim(self, config: Config, redo: str | None = None) -> None:
        """Write the resolved config, or check that it is the one this folder was made with.

        Raises:
            UserError: keys differ and `redo` does not cover them; names the keys. Operational keys may differ; that
                they do is written down.
        """
        if redo is not None and redo not in STAGES:
            raise UserError(f"--redo {redo} is no stage", mend=f"Stages: {', '.join(STAGES)}.")
        made = self.phases.exists() or any(self._record(stage).exists() for stage in STAGES)
        known = self.config.exists() or self._claim.exists()
        if known and made:
            self.changed = self._check_same(config, redo)
        elif known:  # nothing was made with it yet: a mended config may take its place
            self._forget_start()
        elif self.path.exists() and not all(map(_may_come_before, self.path.iterdir())):
            raise UserError("holds files but no config.yaml: not a run folder", where=str(self.path))
        if redo and STAGES.index(redo) <= STAGES.index("sweep"):
            self._forget_start()
        if redo:
            self.report.unlink(missing_ok=True)  # people open it without asking whether it holds
            for stage in STAGES[STAGES.index(redo) :]:
                self._record(stage).unlink(missing_ok=True)
        if self.changed:
            operational.note(self.changes, self.changed, provenance.now())
        if not (made and self._claim.exists() and self._made_with() == config.resolved()):
            write_record(self._claim, {"format": FORMAT, "config": config.resolved()})
        write_atomic(self.config, dump(config))

    def taken(self) -> Callable[[], None]:
        """What undoes a claim, where nothing has been made since: a refused command leaves the folder as it was."""
        began = time.time() - 0.01  # file systems stamp by a coarser clock
        paths = [self.config, self._claim, self.changes, self.splits, self.rounds, *map(self._record, STAGES)]
        before = {path: path.read_bytes() if path.exists() else None for path in paths}

        def undo() -> None:
            made = (self.data / "manifest.json", self.phases, *self.phases.rglob("*"))
            if any(path.lstat().st_mtime >= began for path in made if path.exists()):
                return
            if before[self.changes] is None:
                self.changes.unlink(missing_ok=True)
            for path, content in before.items():
                if content is not None and (not path.exists() or path.read_bytes() != content):
                    write_atomic(path, content)

        return undo

    def _forget_start(self) -> None:
        """Drop what was taken from elsewhere before the first stage that trains: the next one takes it anew."""
        self.splits.unlink(missing_ok=True)
        self.rounds.unlink(missing_ok=True)
        shutil.rmtree(self.seed_from, ignore_errors=True)

    def check(self, config: Config) -> None:
        """Refuse a folder that no run has made, or one made with another config; for those who only read it.

        Raises:
            UserError: names the keys that differ.
        """
        if not self.config.exists():
            raise UserError("no such run", where=str(self.path), mend="Make it with 'splitjax run CONFIG.yaml'.")
        self._check_same(config, None)

    def recipe_before(self, train: Train) -> dict[str, Any]:
        """The recipe as records hold it that were made before operational keys were left out of hashes."""
        made_with = self._made_with() if self.config.exists() or self._claim.exists() else {}
        return train.recipe_before({**operational.train_of(made_with), **operational.began(self.changes)})

    @contextmanager
    def locked(self, part: str | None = None) -> Iterator[None]:
        """One process at a time works in a run folder; of a sweep's parts each one.

        Raises:
            UserError: another is at work and does not end within seconds (its workers may outlive it by a moment).
        """
        found = os.path.lexists(self.path)
        with contextlib.ExitStack() as held:
            whole = held.enter_context(lock(self.path / LOCK, shared=part is not None))
            own = [held.enter_context(lock(self.path / f"{LOCK}-{part}"))] if part is not None else []
            self.locks = (whole, *own)
            self._made_here = part is None and not found
            try:
                yield
            finally:
                self.locks, self._made_here = (), False

    def forget_if_empty(self) -> None:
        """Remove what `claim` made, where no stage came to an end, and the folder if it was made for this command.

        In any other folder the locks stay. One goes with its folder under the exclusive lock alone: whoever waits for
        it makes both anew (see `locks.lock`).
        """
        left = list(self.path.iterdir())
        if all(path in (self.config, self._claim) or _may_come_before(path) for path in left):
            for path in (self.config, self._claim):
                path.unlink(missing_ok=True)
            if self._made_here and not (self.path / _LOGS).exists():
                (self.path / LOCK).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # something came in just now
                    self.path.rmdir()

    def _made_with(self) -> dict[str, Any]:
        """The config that the stages were made with. config.yaml says the same for people, and can be edited."""
        if not self._claim.exists():
            return load(self.config).resolved()
        mend = f"Remove it: {self.config.name} is then believed instead."
        return read_record(self._claim, "the record of a config", {"format": FORMAT}, mend, _ConfigRecord)["config"]

    def _edited(self) -> bool:
        """Whether config.yaml says something else than what the run was made with."""
        try:
            return self.config.exists() and load(self.config).resolved() != self._made_with()
        except UserError:
            return True

    def _check_same(self, config: Config, redo: str | None) -> Changed:
        """Refuse a config of other numbers; the operational keys that differ."""
        made_with, asked = _as_read_today(self._made_with()), config.resolved()
        free = _FREE if config.sweep is not None and config.sweep.auto else (*_FREE, "topology")
        before, now = _flat(operational.without(made_with)), _flat(operational.without(asked))
        changed = sorted(
            key for key in before.keys() | now.keys()
            if before.get(key, "absent") != now.get(key, "absent") and not key.startswith(free)
            and not (key.endswith(".dtype") and (before.get(key), now.get(key)) == _OLD_DTYPE)
        )
        if not changed:
            return operational.differences(made_with, asked)
        stages = {_first_stage(key) for key in changed}
        if config.sweep is not None and config.sweep.counts_tokens and "budget.accounting" in changed:
            stages.add("sweep")  # its cells are other ones
        if config.sweep is not None and config.sweep.auto and any(key.startswith(_CHOSEN_FOR) for key in changed):
            stages.add("sweep")  # its cells were chosen for another main run
        needed = min(stages, key=STAGES.index)
        if redo is None or STAGES.index(redo) > STAGES.index(needed):
            keys = ", ".join(f"{key} ({before.get(key)} → {now.get(key)})" for key in changed[:5])
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            raise UserError(
                f"was made with another config: {keys}{more}", where=str(self.config if self._edited() else self.path),
                mend=f"Use another run_dir, or --redo {needed} to make that stage and all after it anew.",
            )
        return operational.differences(made_with, asked)


def _may_come_before(path: Path) -> bool:
    """Whether it may lie in a run folder before its config: a lock, or a launcher's logs."""
    return path.name.startswith(LOCK) or path.name in (_LOGS, _PROGRESS)


def _as_read_today(tree: dict[str, Any]) -> dict[str, Any]:
    """A stored config with the defaults of keys that are younger than it."""
    try:
        return from_dict(tree).resolved()
    except UserError:
        return tree  # its keys no longer exist: the comparison names them


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict) and tree:
        return {k: v for key, item in tree.items() for k, v in _flat(item, f"{prefix}{key}.").items()}
    if isinstance(tree, list) and tree and any(isinstance(item, dict | list) for item in tree):
        return {k: v for i, item in enumerate(tree) for k, v in _flat(item, f"{prefix}{i}.").items()}
    return {prefix[:-1]: tree}


def _first_stage(key: str) -> str:
    parts = key.split(".")
    return _FIRST_STAGE.get(".".join(parts[:2])) or _FIRST_STAGE.get(parts[0], STAGES[0])
