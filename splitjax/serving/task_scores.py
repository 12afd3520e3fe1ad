"""lm-eval's tasks on the models of a run or of a folder, each as it is served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from splitjax.config import Config
from splitjax.evaluate import Scorer, Served, harness
from splitjax.reporting.model_table import COLUMNS
from splitjax.runs.model_places import places
from splitjax.runs.reporter import Reporter

from . import loaded_models
from .export_set import open_run
from .loaded_models import Loaded


def evaluate(
    source: Config | Path, tasks: Sequence[str], *, limit: int | None = None, shots: int | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """lm-eval's results: {model: {task: {metric: value, num_fewshot: examples}}}.

    Args:
        source: a run, of which the planned model, dense, 80/20 and the seed are asked; or an exported set, or one
            Hugging Face folder of Llama, Qwen2 or Qwen3 type.
        tasks: names of lm-eval's, or paths of a task's YAML.
        limit: items a task; None: all.
        shots: examples before each item; None: as many as each task itself says.

    Raises:
        UserError: no such run or folder, not trained yet, no such task, or its data are not on this machine.
    """
    if isinstance(source, Path):
        return {source.name: harness.evaluate(served(loaded_models.of_folder(source)), tasks, limit, shots=shots)}
    with open_run(source, reporter) as job:
        found = {}
        for name in (name for name in COLUMNS if name in places(job)):
            job.reporter.now(name)
            found[name] = harness.evaluate(served(loaded_models.of_run(job, name)), tasks, limit, shots=shots)
        return found


def served(models: Loaded) -> Served:
    """Models as they answer: experts behind their router."""
    scorer = Scorer(models.model, models.params_K, models.window)
    router = models.router.router if models.router else None
    return Served(models.tokenizer, scorer, router, models.names, models.stops)


def table(found: dict[str, Any]) -> Table:
    """A row a task and metric, a column a model."""
    shown = Table(title="lm-eval", title_justify="left")
    shown.add_column("task")
    for name in found:
        shown.add_column(name, justify="right")
    first = next(iter(found.values()))
    for task, metrics in first.items():
        shots = f" ({metrics['num_fewshot']} examples)" if metrics["num_fewshot"] else ""
        for metric in (one for one in metrics if one != "num_fewshot" and not one.endswith("_stderr")):
            cells = []
            for told in found.values():
                error = told[task].get(f"{metric}_stderr")
                cells.append(f"{told[task][metric]:.4f}" + (f" ± {error:.4f}" if error is not None else ""))
            shown.add_row(f"{task}{shots} {metric}", *cells)
    return shown
