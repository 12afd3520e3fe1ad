"""What each stage is made of: which keys of the config make which stages stale, and that the run folder agrees."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from splitjax.config import Config, UserError, from_dict
from splitjax.runs.job import Job
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.stage_records import STAGES
from splitjax.stages import preparation, sequence

ASKED = ("sweep", "fit", "plan", "train", "evaluate", "report")


def config(changes: dict[str, Any]) -> Config:
    tree: dict[str, Any] = {
        "data": {"sources": [{"type": "installed_python"}], "domains": {"k": 3}}, "budget": {"tokens": "1M"},
        "model": {"d_model": 16, "n_heads": 2}, "train": {"seq_len": 64, "batch_size": 4},
        "evaluate": {"prefix": 8, "windows": 16},
        "sweep": {"models": [{"d_model": d, "n_heads": 2} for d in (8, 16)], "d_pretrain": ["10k"], "d_special": [0]},
    }
    for key, value in changes.items():
        part, _, inner = key.partition(".")
        tree[part] = tree.get(part, {}) | {inner: value} if inner else value
    return from_dict(tree)


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """changes → stage → what it says it is made of; every stage is then taken for done."""
    said: dict[str, Any] = {}

    def done(job: Job, stage: str, given: dict[str, Any]) -> bool:
        said[stage] = given
        return True

    monkeypatch.setattr(Job, "skip_if_done", done)
    monkeypatch.setattr(RunFolder, "hash_of", lambda folder, path, stage: f"{path.name} of {stage}")
    monkeypatch.setattr(RunFolder, "done", lambda folder, stage: {} if stage == "sweep" else None)

    def asked(changes: dict[str, Any]) -> dict[str, Any]:
        said.clear()
        made = config(changes)
        corpus: Any = SimpleNamespace(manifest=SimpleNamespace(hash="manifest", k=3), vocab_size=300)
        job = Job(made, RunFolder(tmp_path), Reporter(), platform="cpu", _corpus=corpus)
        for stage in ASKED:
            getattr(sequence, f"run_{stage}")(job)
        return {"prepare": preparation.inputs_of(made), **said}

    return asked


@pytest.mark.parametrize(("key", "value", "stale"), [
    ("seed", 1, {"prepare", "sweep", "fit", "train", "evaluate"}),
    ("data.validation", 0.2, {"prepare"}),
    ("train.learning_rate", 1e-4, {"sweep", "plan", "train"}),
    ("sweep.d_pretrain", ["20k"], {"sweep"}),
    ("train.seeds", 2, {"train"}),
    ("evaluate.windows", 17, {"sweep", "evaluate"}),
    ("law.bootstrap", 17, {"fit"}),
    ("model.d_model", 24, {"plan", "train"}),
    ("budget.tokens", "2M", {"plan", "train"}),
    ("split", 0.25, {"plan"}),
    ("evaluate.compare", [0.25], {"train", "evaluate"}),
    ("evaluate.prefix", 9, {"evaluate"}),
    ("evaluate.routers", ["bayes"], {"evaluate"}),
    ("train.remat", "full", set()),
    ("name", "other", set()),
])
def test_a_key_makes_stale_what_is_made_of_it_and_the_folder_asks_for_the_first(
    inputs: Any, tmp_path: Path, key: str, value: Any, stale: set[str]
) -> None:
    before, after = inputs({}), inputs({key: value})
    assert before.keys() == after.keys() == {"prepare", *ASKED}
    assert {stage for stage in before if before[stage] != after[stage]} == stale
    folder = RunFolder(tmp_path / "run")
    folder.claim(config({}))
    folder.phases.mkdir(parents=True)
    if not stale:
        folder.claim(config({key: value}))
        return
    first = min(stale, key=STAGES.index)
    with pytest.raises(UserError, match=f"--redo {first} to make"):
        folder.claim(config({key: value}))


def test_a_stage_is_made_of_what_the_ones_before_it_wrote(inputs: Any) -> None:
    told = inputs({})
    assert told["fit"]["observations"] == "observations.csv of sweep"
    assert told["plan"]["law"] == told["train"]["law"] == told["report"]["law"] == "law.json of fit"
    assert told["train"]["plan"] == told["report"]["plan"] == "plan.json of plan"
    assert told["evaluate"]["main"] == "main.json of train"
    assert told["report"]["results"] == "results.json of evaluate"
    assert all(told[stage]["manifest"] == "manifest" for stage in ("sweep", "plan", "train", "evaluate"))
