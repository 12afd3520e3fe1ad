"""Keys that say how a step is computed may change on a stopped run; what was trained stays trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from splitjax import cli, stages
from splitjax.config import OPERATIONAL, Config, UserError, from_dict, hash_json, load, read_json, write_record
from splitjax.config.train_settings import Train
from splitjax.runs import operational
from splitjax.runs.job import Job
from splitjax.runs.phase_record import read_done, read_log
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.train import Interrupted, checkpoint
from tools.faults.world import MAIN_ALONE, tiny_tree

OTHER: dict[str, Any] = {
    "mesh": {"expert": 1}, "placement": "serial", "attention": "xla", "layers": "scan", "remat": "full",
    "loss_blocks": 2, "microbatches": 2, "expert_loop": "scan", "checkpoint_minutes": 1.0,
    "keep_last": 3, "steps_per_dispatch": 4,
}
"""Of each operational key a value that is not the default's."""


def config(**train: Any) -> Config:
    return from_dict({
        "data": {"sources": [{"type": "installed_python"}]}, "budget": {"tokens": "1M"}, "split": 0.5,
        "train": {"keep_every": "1M"} | train,
    })


@pytest.fixture
def begun(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.claim(config())
    folder.mark_done("prepare", {}, [])
    return folder


def test_every_operational_key_is_tried_here() -> None:
    assert OTHER.keys() == set(OPERATIONAL)
    assert all(config(**{key: value}).train != config().train for key, value in OTHER.items())


@pytest.mark.parametrize("key", OTHER)
def test_an_operational_key_may_change_and_it_is_written_down(key: str, begun: RunFolder) -> None:
    before, now = config(), config(**{key: OTHER[key]})
    begun.claim(now)
    pair = tuple(each.resolved()["train"][key] for each in (before, now))
    assert begun.changed == {key: pair}
    (change,) = read_json(begun.changes)["changes"]
    assert change["train"] == {key: list(pair)}
    assert now.train.recipe() == before.train.recipe(), "no hash of a record or a phase holds it"
    (line,) = operational.told(begun.changed)
    assert line.startswith(f"train.{key} ")
    assert ("the same bits" in line) == (key in ("checkpoint_minutes", "keep_last"))
    begun.claim(now)
    assert not begun.changed
    assert len(read_json(begun.changes)["changes"]) == 1


def test_a_run_that_is_older_than_a_key_began_with_its_default(begun: RunFolder) -> None:
    old = config().resolved()
    del old["train"]["steps_per_dispatch"]
    assert not operational.differences(old, config().resolved())
    assert operational.differences(old, config(steps_per_dispatch=4).resolved()) == {"steps_per_dispatch": ("auto", 4)}


def test_a_key_of_other_numbers_is_refused_beside_one_that_is_not(begun: RunFolder) -> None:
    with pytest.raises(UserError, match=r"another config: train\.learning_rate \(0\.004 → 0\.5\)\. Use"):
        begun.claim(config(remat="full", learning_rate=0.5))
    assert not begun.changes.exists()


def test_a_change_that_a_kill_cut_short_is_noted_once(begun: RunFolder) -> None:
    """changes.json is written before the config: a start that was killed between the two finds its own note."""
    operational.note(begun.changes, {"remat": ("auto", "full")}, "then")
    begun.claim(config(remat="full"))
    begun.claim(config())
    assert [change["train"] for change in operational.read(begun.changes)] == [
        {"remat": ["auto", "full"]}, {"remat": ["full", "auto"]}
    ]


def test_a_refused_command_takes_its_note_back(begun: RunFolder) -> None:
    undo = begun.taken()
    begun.claim(config(remat="full"))
    undo()
    assert not begun.changes.exists()
    begun.claim(config())
    assert not begun.changed


def test_a_damaged_record_of_changes_is_refused_by_name(begun: RunFolder) -> None:
    begun.claim(config(remat="full"))
    begun.changes.write_text(begun.changes.read_text().replace("full", "dots"))
    with pytest.raises(UserError, match=r"changes\.json: damaged or edited"):
        operational.read(begun.changes)


def old_recipe(train: Train) -> dict[str, Any]:
    """The recipe as it went into every hash before operational keys were left out."""
    later = {"keep_last", "seeds", "steps_per_dispatch"}
    return train.model_dump(mode="json", exclude={"mesh", "placement", *later})


def test_records_of_an_earlier_version_are_understood_after_two_changes(begun: RunFolder) -> None:
    began = config()
    begun.mark_done("sweep", {"train": old_recipe(began.train), "seed": 0}, [])
    for train in ({"remat": "full"}, {"remat": "dots", "microbatches": 4}):
        now = config(**train)
        begun.claim(now)
        job = Job(now, begun, Reporter())
        inputs = {"train": now.train.recipe(), "seed": 0}
        assert job.skip_if_done("sweep", inputs)
        assert not job.skip_if_done("sweep", inputs | {"seed": 1})
    other = config(remat="dots", microbatches=4, z_loss=0.0)
    assert not Job(other, begun, Reporter()).skip_if_done("sweep", inputs | {"train": other.train.recipe()})


@pytest.fixture(scope="module")
def ended(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to its trained models, and its config."""
    folder = tmp_path_factory.mktemp("operational")
    tree = tiny_tree(corpus_file, folder / "run") | MAIN_ALONE | {"budget": {"tokens": "3k"}}
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in tree.items() if value is not None}))
    stages.prepare(load(path))
    with pytest.MonkeyPatch.context() as patch:
        _stop_after(5, patch)
        with pytest.raises(Interrupted):
            stages.train(load(path))
    return path


def _stop_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """SIGTERM after so many steps of this process."""
    from splitjax.train.guards.interrupt import Signals

    made = iter(range(steps))
    patch.setattr(Signals, "stop_after", lambda self, step: 15 if next(made, None) is None else None)


def test_a_stopped_run_goes_on_from_where_it_was_with_other_settings(
    ended: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after an out-of-memory: the phase that was cut short goes on from its checkpoint, and nothing begins anew."""
    run = RunFolder(load(ended).folder)
    (phase,) = run.phases.iterdir()
    (at,) = checkpoint.saved(phase / "checkpoints")
    before = read_log(phase) if (phase / "done.json").exists() else None
    assert before is None, "cut short, or this test shows nothing"
    (phase / "witness").write_text("it is not begun anew")
    words = ["train.microbatches=2", "train.remat=full", "train.layers=scan", "train.loss_blocks=2"]
    words.append("train.steps_per_dispatch=4")
    assert cli.main(["train", str(ended), *words]) == 0
    told = capsys.readouterr().err
    assert "train.microbatches 1 → 2: the same numbers up to rounding; nothing is trained anew" in told
    assert (phase / "witness").exists()
    meta = checkpoint.about(checkpoint.at(phase / "checkpoints", checkpoint.saved(phase / "checkpoints")[-1]))
    assert (meta["train"]["microbatches"], meta["train"]["steps_per_dispatch"]) == (2, 4)
    assert at > 0
    assert cli.main(["status", str(ended.parent / "run")]) == 0
    assert "train.remat auto → full" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_what_is_done_stays_done_in_a_folder_of_an_earlier_version(
    ended: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its phases bear the hash that holds the keys: read by today's, under changed keys, nothing is trained."""
    began = load(ended)
    run = RunFolder(began.folder)
    job = Job(began, run, Reporter())
    assert cli.main(["train", str(ended)]) == 0
    done = sorted(run.phases.glob("*/done.json"))
    assert done
    for path in done:
        told = read_json(path.with_name("phase.json"))["phase"]
        old = hash_json([
            told["name"], told["model"], old_recipe(began.train), [began.seed], job.corpus.manifest.hash,
            job.clock.experts, began.evaluate.windows,
        ])
        for name in ("phase.json", "done.json"):
            record = {key: value for key, value in read_json(path.with_name(name)).items() if key != "hash"}
            write_record(path.with_name(name), record | {"identity": old})
    stamps = {path: path.stat().st_mtime_ns for path in done}
    run.changes.unlink(missing_ok=True)
    (run.path / "done" / "train.json").unlink()
    assert cli.main(["train", str(ended), "train.remat=dots"]) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == stamps
    assert cli.main(["status", str(run.path), "--json"]) == 0
    assert "of another config" not in capsys.readouterr().out
    assert read_done(done[0].parent)["stop"] > 0
