"""Zero-shot tasks of a run: local files and what its corpus asks, and what every compared model makes of them."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitjax.config import Config, UserError, hash_file
from splitjax.evaluate import Scorer, Served, tasks
from splitjax.evaluate.routers import Router
from splitjax.model import LanguageModel
from splitjax.runs.job import Job
from splitjax.train import Stack


def files(config: Config) -> list[Path]:
    """The files that `evaluate.tasks` names, globs resolved.

    Raises:
        UserError: a name without a file, or two files of one name.
    """
    found: list[Path] = []
    for pattern in config.evaluate.tasks:
        here = sorted(map(Path, glob.glob(pattern))) or ([Path(pattern)] if Path(pattern).is_file() else [])
        if not here:
            raise UserError(f"no file matches '{pattern}'", where="evaluate.tasks")
        found += [path for path in here if path not in found]
    names = [path.name for path in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two files are called '{twice}'", where="evaluate.tasks", mend="Rename one of them.")
    return found


def inputs(config: Config) -> dict[str, str]:
    """Hashes of the files: other items, another evaluation."""
    return {path.name: hash_file(path) for path in files(config)}


class ZeroShot:
    """The tasks of a run, read before anything is scored."""

    def __init__(self, job: Job) -> None:
        self.job = job
        asked = [job.corpus.questions] if job.corpus.questions else []
        self.tasks = [tasks.read(path) for path in [*files(job.config), *asked]]

    def answer(self, model: LanguageModel, stack: Stack, router: Router | None) -> dict[str, Any]:
        """Accuracies of one set of models by task."""
        corpus, window = self.job.corpus, self.job.config.train.seq_len
        names = corpus.domains if stack.experts > 1 else ("model",)
        served = Served(corpus.tokenizer, Scorer(model, stack.params, window), router, names)
        found = {}
        for task in self.tasks:
            self.job.reporter.now(task.name)
            found[task.name] = tasks.answer(task, served).to_json(names)
        return found

    def summary(self, by_model: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """What results.json tells: the tasks, each model's answers, and the mean over the eight commonsense tasks."""
        if not self.tasks:
            return {}
        averages = {name: tasks.commonsense(scores) for name, scores in by_model.items()}
        missing = next(iter(averages.values()))[1]
        return {
            "tasks": {task.name: {"form": task.form, "items": len(task.items)} for task in self.tasks},
            "models": by_model,
            "commonsense_average": {name: mean for name, (mean, _) in averages.items()},
            "commonsense_missing": missing,
        }
