"""Whether a file in a run folder belongs to those beside it: one chain, from the page down to data and weights."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from splitjax.config import UserError, hash_json, read_json, write_record
from splitjax.runs.run_folder import FORMAT, RunFolder
from splitjax.runs.stage_records import STAGES

# What each stage writes and reads, as stages/sequence.py has it.
CHAIN = {
    "prepare": (["data/manifest.json"], []),
    "sweep": (["observations.csv", "answers.csv"], ["data/manifest.json", "splits.json", "seed_from/seed.json"]),
    "fit": (["law.json"], ["observations.csv"]),
    "plan": (["plan.json"], ["data/manifest.json", "law.json"]),
    "train": (["main.json"], ["data/manifest.json", "plan.json", "law.json"]),
    "evaluate": (["results.json", "router/router.json"], ["data/manifest.json", "plan.json", "main.json"]),
    "report": (["report.html"], ["results.json", "plan.json", "law.json", "observations.csv"]),
}
WEIGHTS = "phases/p/checkpoints/9/checkpoint.json"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path)
    for name in [*(name for wrote, read in CHAIN.values() for name in (*wrote, *read)), WEIGHTS]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"of": "' + name + '"}')
    for stage, (wrote, read) in CHAIN.items():
        weights = [tmp_path / WEIGHTS] if stage == "train" else []
        found.mark_done(stage, {}, [tmp_path / name for name in wrote], read=[tmp_path / name for name in read],
                        weights=weights)
    return found


def believed(folder: RunFolder) -> set[str]:
    return {stage for stage in STAGES if folder.belongs(stage)}


def test_all_belongs_as_it_was_left(folder: RunFolder) -> None:
    assert believed(folder) == set(STAGES)
    assert folder.evaluated() == {"of": "results.json"}


@pytest.mark.parametrize(("name", "left"), [
    ("data/manifest.json", set()),
    ("splits.json", {"prepare"}),
    ("seed_from/seed.json", {"prepare"}),
    ("observations.csv", {"prepare"}),
    ("answers.csv", {"prepare"}),
    ("law.json", {"prepare", "sweep"}),
    ("plan.json", {"prepare", "sweep", "fit"}),
    ("main.json", {"prepare", "sweep", "fit", "plan"}),
    (WEIGHTS, {"prepare", "sweep", "fit", "plan"}),
    ("results.json", {"prepare", "sweep", "fit", "plan", "train"}),
    ("router/router.json", {"prepare", "sweep", "fit", "plan", "train"}),
    ("report.html", {"prepare", "sweep", "fit", "plan", "train", "evaluate"}),
])
@pytest.mark.parametrize("change", ["changed", "another's", "gone"])
def test_nothing_is_believed_that_came_of_another_file(
    folder: RunFolder, tmp_path: Path, name: str, left: set[str], change: str
) -> None:
    if change == "changed":
        (tmp_path / name).write_text('{"of": "another run"}')
    elif change == "another's":
        shutil.copy(tmp_path / "done" / "fit.json", tmp_path / name)
    else:
        (tmp_path / name).unlink()
    if change == "gone" and name == WEIGHTS:
        left = set(STAGES)  # weights may be removed for room: there are no others to mistake them for
    assert believed(folder) == left
    assert (folder.evaluated() is None) is ("evaluate" not in left)
    with pytest.raises(UserError) if left != set(STAGES) else contextlib.nullcontext() as refused:
        folder.need("report")
    if refused is not None:
        assert name in str(refused.value)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_made_anew_takes_the_belief_from_all_that_came_of_it(folder: RunFolder, stage: str) -> None:
    after = {stage}
    for other, (_, read) in CHAIN.items():
        if any(name in CHAIN[done][0] for done in after for name in read):
            after.add(other)
    (folder.path / "done" / f"{stage}.json").unlink()
    assert believed(folder) == set(STAGES) - after
    with pytest.raises(UserError, match=f"stage {stage} has not run"):
        folder.need("report")


def test_a_stage_is_not_done_where_it_read_another_file(folder: RunFolder, tmp_path: Path) -> None:
    assert folder.is_done("plan", {})
    (tmp_path / "law.json").write_text("{}")
    folder.mark_done("fit", {}, [tmp_path / "law.json"], read=[tmp_path / "observations.csv"])
    assert not folder.is_done("plan", {}), "the same inputs, but another law lies there"
    assert not folder.is_done("train", {})
    assert not folder.is_done("evaluate", {})


def test_other_weights_are_refused_by_name_and_not_trained_over(folder: RunFolder, tmp_path: Path) -> None:
    folder.same_weights(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).write_text("{}")
    asks: list[Callable[[], object]] = [
        lambda: folder.same_weights(tmp_path / WEIGHTS), lambda: folder.is_done("train", {}),
        lambda: folder.hash_of(folder.main, "train"), lambda: folder.need("evaluate"),
    ]
    for ask in asks:
        with pytest.raises(UserError, match=r"checkpoint\.json: changed since stage train wrote it"):
            ask()


def test_a_record_that_does_not_say_what_was_read_is_made_anew(folder: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "done" / "fit.json"
    told = read_json(path)
    write_record(path, {key: told[key] for key in ("format", "stage", "inputs", "outputs")})
    assert told["format"] == FORMAT
    assert told["inputs"] == hash_json({})
    assert not folder.is_done("fit", {})
    assert believed(folder) == {"prepare", "sweep"}
    with pytest.raises(UserError, match="by an earlier splitjax"):
        folder.need("plan")
