"""What cells of a sweep answer, against greedy decoding token by token."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jax
import pytest

from splitjax import stages
from splitjax.config import Config, from_dict
from splitjax.evaluate.generate import Generator, Sampling
from splitjax.runs.job import Job
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.scoring.recall import own_expert
from splitjax.scoring.zero_shot import ZeroShot

SHAPE = {"d_model": 16, "n_layers": 1, "n_heads": 2}


def tree(run_dir: Path, **changes: Any) -> Config:
    return from_dict({
        "run_dir": str(run_dir),
        "data": {"sources": [{"type": "phonebook", "books": 2, "entries": 4}], "tokenizer": {"type": "bytes"},
                 "near_duplicates": None, "validation": 0.2, "test": 0.2},
        "model": SHAPE,
        "train": {"seq_len": 32, "batch_size": 4, "learning_rate": 0.03, "base_width": 16, "warmup": 1000},
        "budget": {"tokens": "40k"},
        "sweep": {"models": SHAPE, "tokens": "40k", "split": [0, 1]},
        "evaluate": {"windows": 2, "prefix": 8},
    } | changes)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = tree(tmp_path_factory.mktemp("recall") / "run")
    stages.prepare(config)
    stages.sweep(config)
    return config


def answers(config: Config) -> dict[tuple[str, str], dict[str, str]]:
    with open(RunFolder(config.folder).answers, encoding="utf-8", newline="") as file:
        return {(row["run"], row["domain"]): row for row in csv.DictReader(file)}


def test_exact_match_is_what_greedy_decoding_of_the_own_expert_gives(swept: Config) -> None:
    job = Job(swept, RunFolder(swept.folder), Reporter())
    assert job.corpus.questions is not None
    items = [json.loads(line) for line in job.corpus.questions.read_text().splitlines()]
    told, executor, tokenizer = answers(swept), job.sweep_executor(), job.corpus.tokenizer
    assert len(told) == 2 * len(job.sweep_cells) == 4
    for phase in job.sweep_phases:
        for cell in phase.ends:
            stack = executor.stack_of(phase, cell)
            for index, domain in enumerate(job.corpus.domains):
                params = jax.tree.map(lambda leaf, k=index if stack.experts > 1 else 0: leaf[k], stack.params)
                generator = Generator(executor.model(cell.model), params, swept.train.seq_len)
                right = 0
                for item in items:
                    if item["domain"] == domain:
                        wanted = tokenizer.encode(item["continuation"])
                        prompt = [0, *tokenizer.encode(item["context"])]
                        right += list(generator.tokens(prompt, len(wanted), Sampling(), 0)) == wanted
                row = told[cell.id, domain]
                assert (int(row["questions"]), float(row["exact_match"])) == (4, right / 4)
                assert int(row["d_special"]) == (0 if stack.experts == 1 else cell.special * 128)
    # Something was learned, or the comparison says nothing; and experts know their own book alone.
    assert max(float(row["exact_match"]) for row in told.values()) > 0.3


def test_an_answers_table_that_was_lost_is_made_again_and_nothing_is_trained(swept: Config) -> None:
    folder = RunFolder(swept.folder)
    before, phases = folder.answers.read_bytes(), sorted(folder.phases.rglob("done.json"))
    when = [path.stat().st_mtime_ns for path in phases]
    folder.answers.unlink()
    stages.sweep(swept)
    assert folder.answers.read_bytes() == before
    assert [path.stat().st_mtime_ns for path in phases] == when


def test_each_expert_answers_for_its_own_domain_and_a_model_alone_for_all() -> None:
    assert own_expert([0, 2, 1], 3) == [0, 2, 1]
    assert own_expert([0, 2, 1], 1) == [0, 0, 0]


def test_the_main_run_asks_what_the_corpus_asks(swept: Config) -> None:
    job = Job(swept, RunFolder(swept.folder), Reporter())
    (task,) = ZeroShot(job).tasks
    assert (task.name, len(task.items)) == ("questions", 8)
