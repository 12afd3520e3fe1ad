"""What an expert reads after the split."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splitjax import stages
from splitjax.config import Config, UserError, from_dict
from splitjax.model import flops_per_token
from splitjax.parallel import CHIPS
from splitjax.runs import executor, settled
from splitjax.runs.cells import Clock
from splitjax.runs.job import Job
from splitjax.runs.phase_record import read_log
from splitjax.runs.phase_tree import Cell
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.train import checkpoint, path_tokens


@pytest.fixture(scope="module")
def tree(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    tree = {
        "run_dir": str(tmp_path_factory.mktemp("execute") / "run"),
        "data": {
            "sources": [{"type": "jsonl", "path": str(corpus_file)}],
            "tokenizer": {"vocab_size": 300},
            "validation": 0.15,
            "test": 0.15,
        },
        "model": {"d_model": 16, "n_layers": 1, "n_heads": 2},
        "train": {"seq_len": 32, "batch_size": 4},
        "budget": {"tokens": "8k"},
        "split": 0.5,
        "evaluate": {"windows": 4, "prefix": 8},
    }
    stages.prepare(from_dict(tree))
    return tree


def first_batches(config: Config, pretrain: int) -> tuple[np.ndarray, Job]:
    job = Job(config, RunFolder(config.folder), Reporter())
    phases = job.phases([Cell(config.model, pretrain, 20)])
    experts = next(phase for phase in phases if phase.splits)
    return job.executor()._streams(experts).batch(0), job


def test_an_expert_goes_on_where_the_trunk_left_its_domain(tree: dict) -> None:
    pretrain = 30
    found_KBT, job = first_batches(from_dict(tree), pretrain)
    trunk = job.corpus.mixture(4, 32, 0)
    seen = {row.tobytes() for t in range(pretrain) for row in trunk.batch(t)}
    fresh = [row.tobytes() for batch_BT in found_KBT for row in batch_BT]
    assert not seen & set(fresh), "nothing that the trunk has read comes again in the first epoch"


def test_an_expert_may_begin_its_domain_again(tree: dict) -> None:
    restarted = from_dict(tree | {"train": tree["train"] | {"domain_stream": "restart"}})
    found_KBT, job = first_batches(restarted, 30)
    for k, batch_BT in enumerate(found_KBT):
        np.testing.assert_array_equal(batch_BT, job.corpus.domain(k, 4, 32, 0).batch(0))


@pytest.mark.parametrize(("asked", "chip", "block"), [("auto", None, 1), ("auto", "h100", 8), (3, "h100", 3)])
def test_trunk_and_experts_make_so_many_steps_in_a_dispatch(
    tree: dict, monkeypatch: pytest.MonkeyPatch, asked: int | str, chip: str | None, block: int
) -> None:
    monkeypatch.setattr(settled, "chip_of", lambda kind: CHIPS.get(chip or ""))
    config = from_dict(tree | {"train": tree["train"] | {"steps_per_dispatch": asked}})
    job = Job(config, RunFolder(config.folder), Reporter())
    executor = job.executor()
    assert {executor.trainer(phase).block for phase in job.phases([Cell(config.model, 3, 2)])} == {block}


@pytest.mark.parametrize(
    ("moments", "steps"), [pytest.param("inherit", 4, marks=pytest.mark.slow), ("zero", 1)]
)
def test_moments_go_on_or_start_anew_at_the_split(tree: dict, tmp_path: Path, moments: str, steps: int) -> None:
    config = from_dict(tree | {"train": tree["train"] | {"experts": {"*": {"moments": moments}}}})
    job = Job(config, RunFolder(config.folder), Reporter())
    trunk, experts, *_ = job.phases([Cell(config.model, 3, 2)])  # the last of the two steps is the decay
    executor = job.executor()
    executor.folder = RunFolder(tmp_path)
    executor.run([trunk, experts])
    found = checkpoint.restore_latest(executor.path(experts.name) / "checkpoints")
    assert found is not None
    stack, meta = found[:2]
    assert stack.steps_K.tolist() == [steps] * 3
    assert path_tokens(stack).tolist() == [4 * 4 * 32] * 3
    assert meta["lineage"]["moments"] == moments


def test_a_trunk_without_a_step_is_a_phase_like_any_other(tree: dict, tmp_path: Path) -> None:
    """Where all experts start at 0 tokens: a sweep of D = 0 alone, a cosine that shares no trunk."""
    config = from_dict(tree | {"train": tree["train"] | {"schedule": "cosine"}})
    job = Job(config, RunFolder(config.folder), Reporter())
    phases = job.phases([Cell(config.model, 0, 1)])
    executor = job.executor()
    executor.folder = RunFolder(tmp_path)
    assert [(phase.start, phase.stop) for phase in phases] == [(0, 0), (0, 1)]
    (losses,) = executor.run(phases).values()
    assert len(losses) == 3
    assert [len(read_log(executor.path(phase.name))) for phase in phases] == [0, 1]


def test_a_seed_copied_from_another_run_is_not_split(tree: dict, tmp_path: Path) -> None:
    """Its record must name the identity of the phase in whose folder it lies."""
    config = from_dict(tree)
    job = Job(config, RunFolder(config.folder), Reporter())
    executor = job.executor()
    executor.folder = RunFolder(tmp_path)
    trunk, experts, *_ = job.phases([Cell(config.model, 3, 2)])
    executor.begin(trunk)
    place = checkpoint.at(executor.path(trunk.name) / "checkpoints", experts.start * 4 * 32)
    checkpoint.save(place.parent, int(place.name), executor.trainer(trunk).init(0), {"identity": "another"})
    with pytest.raises(UserError, match=f"{place}: a checkpoint of another run"):
        executor._start(experts)


@pytest.mark.parametrize(("mesh", "devices"), [(None, 1), (SimpleNamespace(size=4), 4)])
def test_what_hears_of_steps_knows_the_devices_the_models_and_whether_they_are_new(
    mesh: Any, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phase of three experts beside one of two, by one program; then the second alone, whose program was begun."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(executor, "Watch", lambda folder, reporter, sinks, phases, models, **more: told.append(
        more | {"models": models}))
    config = from_dict({"data": {"sources": [{"type": "text", "path": "x"}]}, "budget": {"tokens": "8k"}, "split": 0.5,
                        "model": {"d_model": 16, "n_layers": 1, "n_heads": 2},
                        "train": {"seq_len": 32, "batch_size": 4}, "evaluate": {"prefix": 8}})
    here: Any = SimpleNamespace(
        expert=None, clock=Clock.of(config, 3), _begun=set(), folder=None, reporter=None, sinks=[], config=config,
        vocab_size=300,
        trainer=lambda phase: SimpleNamespace(loop_form="vmap", placement=SimpleNamespace(mesh=mesh)),
    )
    phases: Any = [SimpleNamespace(model=config.model, stack_size=lambda experts, n=n: n) for n in (3, 2)]
    for some in (phases, phases[1:], phases[1:]):
        executor.Executor.watch(here, some)
    assert [each["devices"] for each in told] == [devices] * 3
    assert [each["models"] for each in told] == [[3, 2], [2], [2]]
    assert [each["new"] for each in told] == [True, True, False]
    assert {each["step_tokens"] for each in told} == {128}
    token = flops_per_token(config.model, 300, 32)
    assert {(each["flops"], each["work"]) for each in told} == {(token, 128 * (token + 2e6))}


def test_the_experts_left_are_those_whose_own_job_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five the second and the fourth have; none is left of a phase that is recorded."""
    asked: list[tuple[Any, ...]] = []

    def finished(folder: Path, stretch: str, count: int, k: int) -> bool:
        asked.append((folder, stretch, count))
        return k in (1, 3)

    monkeypatch.setattr(executor, "finished", finished)
    recorded: list[Any] = [None, "done"]
    here: Any = SimpleNamespace(recorded=lambda phase: recorded.pop(0), clock=SimpleNamespace(experts=5),
                                path=lambda name: Path("phases") / name, _stretch=lambda phase: "a stretch")
    phase: Any = SimpleNamespace(name="x")
    assert executor.Executor.experts_left(here, phase) == [0, 2, 4]
    assert set(asked) == {(Path("phases/x"), "a stretch", 5)}
    assert executor.Executor.experts_left(here, phase) == []
