"""What the cells of a sweep know of what their corpus asks: exact match by domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splitjax.evaluate import Scorer, Served, tasks
from splitjax.model import LanguageModel
from splitjax.runs.job import Job
from splitjax.runs.phase_tree import Cell
from splitjax.train import Stack

Recalled = dict[str, dict[str, float]]
"""By domain: `questions`, how many were asked, and `exact_match`, the share that greedy decoding answers."""


def of_sweep(job: Job) -> dict[Cell, Recalled]:
    """The answers of every cell of a sweep whose cells are done, from the checkpoints that they ended with."""
    assert job.corpus.questions is not None
    task, executor = tasks.read(job.corpus.questions), job.sweep_executor()
    found: dict[Cell, Recalled] = {}
    for phase in job.sweep_phases:
        for cell in phase.ends:
            job.reporter.now(f"questions of {task.name}")
            found[cell] = recalled(job, task, executor.model(phase.model), executor.stack_of(phase, cell))
    return found


def recalled(job: Job, task: tasks.Task, model: LanguageModel, stack: Stack) -> Recalled:
    """What one model, or each expert of its own domain, answers."""
    corpus, window = job.corpus, job.config.train.seq_len
    domain_N = np.array([corpus.domains.index(str(item.domain)) for item in task.items])
    names = corpus.domains if stack.experts > 1 else ("model",)
    served = Served(corpus.tokenizer, Scorer(model, stack.params, window), None, names)
    right_N = tasks.answer(task, served, own_expert(domain_N, stack.experts)).right_N
    return {
        name: {"questions": int((domain_N == index).sum()),
               "exact_match": round(float(right_N[domain_N == index].mean()), 6)}
        for index, name in enumerate(corpus.domains)
    }


def own_expert(domain_N: Sequence[int] | np.ndarray, experts: int) -> list[int]:
    """Who answers about each domain: its expert, or the one model that there is."""
    return [int(domain) if experts > 1 else 0 for domain in domain_N]
