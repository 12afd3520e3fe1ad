"""`train.mixture` in a run: what the trunk reads, what experts go on with, what rows, plan and page say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitjax import stages
from splitjax.config import Config, Model, UserError, from_dict
from splitjax.planning.main_plan import make_plan
from splitjax.runs import cells
from splitjax.runs.cells import Clock
from splitjax.runs.job import Job
from splitjax.runs.phase_record import identities_of, plain
from splitjax.runs.phase_tree import Cell
from splitjax.runs.plan_record import mixture_note, plan_note
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.sweeping import observations

SIZES = {"code": 1000, "law": 500, "prose": 500}
MIXTURE = {"code": 1, "law": 0, "prose": 3}


@pytest.fixture(scope="module")
def tree(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    tree = {
        "run_dir": str(tmp_path_factory.mktemp("mixture") / "run"),
        "data": {"sources": [{"type": "jsonl", "path": str(corpus_file)}], "tokenizer": {"type": "bytes"},
                 "validation": 0.15, "test": 0.15},
        "model": {"d_model": 16, "n_layers": 1, "n_heads": 2},
        "train": {"seq_len": 32, "batch_size": 4}, "budget": {"tokens": "8k"}, "split": 0.5,
        "evaluate": {"windows": 4, "prefix": 8},
    }
    stages.prepare(from_dict(tree))
    return tree


def weighted(tree: dict[str, Any], mixture: dict[str, float] | None) -> Config:
    return from_dict(tree | {"train": tree["train"] | {"mixture": mixture}})


def test_the_trunk_reads_it_and_experts_go_on_where_it_left_them(tree: dict[str, Any]) -> None:
    """30 steps of 4 windows, one in four of `colours`, three in four of `sums`, none of the third."""
    config = weighted(tree, {"colours": 1, "moves/<turns>": 0, "sums": 3})
    job = Job(config, RunFolder(config.folder), Reporter())
    assert job.corpus.domains == ("colours", "moves/<turns>", "sums")
    trunk, *later = job.phases([Cell(config.model, 30, 20)])
    found = job.executor()._streams(trunk)
    rows = [row.tobytes() for t in range(30) for row in found.batch(t)[0]]
    of_domain = [{job.corpus.domain(k, 1, 32, 0).batch(t)[0].tobytes() for t in range(120)} for k in range(3)]
    assert [sum(row in own for row in rows) for own in of_domain] == [30, 0, 90]
    experts = next(phase for phase in later if phase.splits)
    first_KBT = job.executor()._streams(experts).batch(0)
    for k, seen in enumerate((30, 0, 90)):
        np.testing.assert_array_equal(first_KBT[k], job.corpus.domain(k, 4, 32, 0, start=seen).batch(0))


def test_phases_of_another_mixture_are_other_phases(tree: dict[str, Any]) -> None:
    plain_config, own = weighted(tree, None), weighted(tree, {"colours": 1, "moves/<turns>": 1, "sums": 1})
    (trunk, *_) = Job(plain_config, RunFolder(plain_config.folder), Reporter()).phases([Cell(own.model, 2, 0)])
    first, second = (identities_of(plain(trunk), each, {}, "data", 3, None)[0] for each in (plain_config, own))
    assert first != second


@pytest.mark.parametrize(("mixture", "said"), [
    ({"colours": 1, "sum": 1, "moves/<turns>": 1}, "train.mixture: no domain 'sum'. Did you mean 'sums'?"),
    ({"colours": 1}, "train.mixture: gives 'moves/<turns>' no weight"),
])
def test_domains_that_are_not_there_are_refused_before_training(
    tree: dict[str, Any], mixture: dict[str, float], said: str
) -> None:
    config = weighted(tree, mixture)
    for command in (stages.prepare, stages.train):
        with pytest.raises(UserError) as refused:
            command(config, redo="sweep")
        assert said in str(refused.value)
    assert not list(Path(config.folder).glob("phases/*/checkpoints/*"))
    assert stages.prepare(from_dict(tree)), "what stood is as it was"


def test_a_changed_mixture_is_told_and_made_anew_from_the_sweep_on(tree: dict[str, Any]) -> None:
    stages.prepare(from_dict(tree))
    RunFolder(tree["run_dir"]).mark_done("sweep", {}, [])
    with pytest.raises(UserError, match=r"train\.mixture.* --redo sweep"):
        stages.prepare(weighted(tree, {"colours": 1, "moves/<turns>": 1, "sums": 1}))


def config_of(mixture: dict[str, float] | None) -> Config:
    sources = [{"type": "phonebook", "books": 3}]
    return from_dict({"data": {"sources": sources}, "budget": {"tokens": "100k"}, "split": 0.5,
                      "train": {"mixture": mixture, "seq_len": 32, "batch_size": 4}, "evaluate": {"prefix": 8}})


@pytest.mark.parametrize(("tokens", "unique"), [
    (400, 400),  # 100 and 300: nothing twice
    (800, 700),  # 200 of code, all 500 of prose and 100 of them again
    (10_000, 1500),  # both whole; law is never read
])
def test_what_rows_call_unique_is_what_the_mixture_reads_for_the_first_time(tokens: int, unique: int) -> None:
    shares = cells.mixture_shares(config_of(MIXTURE), SIZES)
    assert shares == {"code": 0.25, "law": 0.0, "prose": 0.75}
    assert cells.unique_in_mixture(tokens, SIZES, shares) == unique
    (row, *_) = observations.rows_of(
        Cell(Model(d_model=16, n_heads=2), tokens // 100, 1), {"code": 1.0}, tokens_per_step=100, sizes=SIZES,
        vocab_size=300, seed=0, shares=shares,
    )
    assert (row["d_pretrain"], row["u_pretrain"]) == (tokens, unique)


def test_without_weights_the_mixture_is_that_of_the_source_or_of_the_tokens() -> None:
    assert cells.mixture_shares(config_of(None), SIZES) == {"code": 0.5, "law": 0.25, "prose": 0.25}
    assert cells.mixture_shares(config_of(None), SIZES, (1, 1, 2)) == {"code": 0.25, "law": 0.25, "prose": 0.5}
    assert cells.mixture_shares(config_of(MIXTURE), SIZES, (1, 1, 2))["prose"] == 0.75


def test_the_plan_tells_it() -> None:
    config = config_of(MIXTURE)
    plan = make_plan(config, Clock.of(config, 3), SIZES, None)
    assert plan["mixture"] == {"by": "train.mixture", "shares": {"code": 0.25, "law": 0.0, "prose": 0.75}}
    told = "the trunk's mixture, by train.mixture: prose 75 %, code 25 %, law not at all"
    assert mixture_note(plan["mixture"]) == told
    assert plan_note(plan).endswith(told)
    plain_plan = make_plan(config_of(None), Clock.of(config, 3), SIZES, None)
    assert plain_plan["mixture"]["by"] == "tokens"
    assert "mixture" not in plan_note(plain_plan)


def test_of_many_domains_the_largest_are_told() -> None:
    shares = {f"d{k}": (k + 1) / 210 for k in range(20)}
    note = mixture_note({"by": "tokens", "shares": shares})
    assert note.startswith("the trunk's mixture, by the domains' tokens: d19 9.52 %, d18 9.05 %")
    assert note.endswith(" and 8 more")
