"""A run folder in a notebook: what is in it, and what can be asked of it."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from splitjax import serving
from splitjax.config import Config, Shown, config_at, read_json
from splitjax.law import LawFit, Table
from splitjax.reporting import status
from splitjax.reporting.results_view import Results
from splitjax.reporting.verdict import Verdict, verdict
from splitjax.runs.plan_record import read_plan
from splitjax.runs.run_folder import RunFolder
from splitjax.serving.answers import Answer

from . import commands


def open_run(path: str | os.PathLike[str]) -> Run:
    """The run in a folder.

    Raises:
        UserError: no run there.
    """
    config = config_at(Path(path))
    folder = RunFolder(config.folder)
    folder.check(config)
    return Run(config, folder)


class Run(Shown):
    """A run that was begun. Its parts are read when they are asked for, and refused by name where they are not there.

    Attributes:
        config: that made it.
        path: its folder.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None:
        self.config, self.path, self._folder = config, folder.path, folder

    @cached_property
    def law(self) -> LawFit:
        """The law of its sweep."""
        self._folder.need("fit")
        return LawFit.load(self._folder.law)

    @cached_property
    def observations(self) -> Table:
        """What its sweep measured."""
        return Table.read(self._folder.observations)

    @cached_property
    def plan(self) -> dict[str, Any]:
        """plan.json."""
        return read_plan(self._folder)

    @property
    def results(self) -> Results:
        """results.json, and `verdict`."""
        self._folder.need("evaluate")
        return Results(read_json(self._folder.results) | {"verdict": self.verdict.to_json()}, self.plan)

    @property
    def verdict(self) -> Verdict:
        """Whether to split, where, how sure, what next."""
        self._folder.need("evaluate")
        return verdict(self._folder)

    def status(self) -> dict[str, Any]:
        """What is done, running, failed."""
        return status(self._folder)

    def evaluate(self, **options: Any) -> Results:
        """Score its models, if that is not done; options as of `splitjax.stages.evaluate`."""
        return commands.evaluate(self.config, **options)

    def generate(self, prompt: str | bytes, **options: Any) -> Answer:
        """Continue a prompt with the expert that the router picks; options as of `splitjax.generate`."""
        return serving.generate(self.config, prompt, **options)

    def export(self, out: str | os.PathLike[str], **options: Any) -> dict[str, Any]:
        """Write Hugging Face folders; options as of `splitjax.export`."""
        return serving.export(self.config, out, **options)

    def plot(self) -> Any:
        """Loss over the split, by law and measurement."""
        return self.results.plot()

    def _headline(self) -> str:
        answer = self.verdict.short if self._folder.belongs("evaluate") else "not evaluated yet"
        return f"Run {self.config.name} in {self.path}: {answer}"

    def _columns(self) -> dict[str, list[Any]]:
        if self._folder.belongs("evaluate"):
            return self.results._columns()
        stages = self.status()["stages"]
        return {"stage": list(stages), "state": list(stages.values())}
