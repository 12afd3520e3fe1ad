"""lm-eval's tasks on the models of a run, each as it is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from splitjax.config import Config, UserError
from splitjax.evaluate import SavedRouter, Scorer, Served, harness

from .closing import COLUMNS
from .exporting import open_run
from .job import Job
from .places import find, places
from .plan import main_tree
from .progress import Reporter


def evaluate(
    config: Config, tasks: Sequence[str], *, limit: int | None = None, reporter: Reporter | None = None
) -> dict[str, Any]:
    """lm-eval's results of the planned model, dense, 80/20 and the seed: {model: {task: {metric: value}}}.

    Args:
        tasks: names of lm-eval's, or paths of a task's YAML.
        limit: items a task; None: all.

    Raises:
        UserError: no such run, not trained or evaluated yet, no such task, or its data are not on this machine.
    """
    with open_run(config, reporter) as job:
        known = places(job)
        found = {}
        for name in (name for name in COLUMNS if name in known):
            job.reporter.now(name)
            found[name] = harness.evaluate(serve(job, name), tasks, limit)
        return found


def serve(job: Job, name: str = "planned") -> Served:
    """A model of a run as it is served: experts stand behind the router that the evaluation chose for them.

    Raises:
        UserError: no such model, not trained, or experts whose router is not chosen yet.
    """
    place, executor, corpus = find(job, name), job.executor(), job.corpus
    stack = executor.stack_at(place.phase, place.step)
    scorer = Scorer(executor.model(place.phase.model), stack.params, job.config.train.seq_len)
    if stack.experts == 1:
        return Served(corpus.tokenizer, scorer, None, (name,))
    at = job.folder.router_of(None if name == "planned" else main_tree(job)[name].id)
    if not at.is_dir():
        mend = "Run 'splitjax evaluate' without --tasks first."
        raise UserError("no router was chosen yet", where=str(at), mend=mend)
    return Served(corpus.tokenizer, scorer, SavedRouter.load(at).router, corpus.domains)


def table(found: dict[str, Any]) -> Table:
    """A row a task and metric, a column a model."""
    shown = Table(title="lm-eval, zero-shot", title_justify="left")
    shown.add_column("task")
    for name in found:
        shown.add_column(name, justify="right")
    first = next(iter(found.values()))
    for task, metrics in first.items():
        for metric in (metric for metric in metrics if not metric.endswith("_stderr")):
            cells = []
            for told in found.values():
                error = told[task].get(f"{metric}_stderr")
                cells.append(f"{told[task][metric]:.4f}" + (f" ± {error:.4f}" if error is not None else ""))
            shown.add_row(f"{task} {metric}", *cells)
    return shown
