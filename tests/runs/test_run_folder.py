"""Done records, and a config that must not change under a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from splitjax.config import Config, UserError, from_dict, load, read_json, write_record
from splitjax.runs.run_folder import FORMAT, RunFolder


def config(**changes: object) -> Config:
    tree = {
        "data": {"sources": [{"type": "installed_python"}]},
        "budget": {"tokens": "1M"},
        "split": 0.5,
    }
    return from_dict(tree | changes)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "run")
    found.claim(config())
    return found


@pytest.fixture
def begun(folder: RunFolder) -> RunFolder:
    """A run in which a stage was made: its config is bound."""
    folder.mark_done("prepare", {}, [])
    return folder


def test_done_means_same_inputs_and_same_outputs(folder: RunFolder) -> None:
    folder.observations.write_text("a,b\n")
    assert not folder.is_done("sweep", {"x": 1})
    folder.mark_done("sweep", {"x": 1}, [folder.observations])
    assert folder.is_done("sweep", {"x": 1})
    assert not folder.is_done("sweep", {"x": 2})
    folder.observations.write_text("a,c\n")
    with pytest.raises(UserError, match=r"observations\.csv: changed since stage sweep wrote it"):
        folder.is_done("sweep", {"x": 1})
    folder.observations.unlink()
    assert not folder.is_done("sweep", {"x": 1})


def test_the_same_config_is_taken_again(begun: RunFolder) -> None:
    begun.claim(config())
    begun.claim(config(name="other"))  # a name changes no number


@pytest.mark.parametrize(
    ("changes", "key", "stage"),
    [
        ({"seed": 1}, r"seed \(0 → 1\)", "prepare"),
        ({"budget": {"tokens": "2M"}}, r"budget\.tokens", "plan"),
        ({"train": {"batch_size": 3}}, r"train\.batch_size \(16 → 3\)", "sweep"),
        ({"evaluate": {"prefix": 3}}, r"evaluate\.prefix", "evaluate"),
    ],
)
def test_a_changed_config_is_refused_by_key(begun: RunFolder, changes: dict, key: str, stage: str) -> None:
    with pytest.raises(UserError, match=f"made with another config: {key}.*--redo {stage}"):
        begun.claim(config(**changes))
    begun.claim(config(**changes), redo=stage)
    begun.claim(config(**changes))


def test_an_edited_config_of_a_run_is_named(begun: RunFolder) -> None:
    """A damaged digit in it is a change like any other, but nobody would look for it there."""
    with pytest.raises(UserError, match=r"run: was made with another config"):
        begun.claim(config(seed=1))  # config.yaml is as it was: the other config is the user's own
    begun.config.write_text(begun.config.read_text().replace("seed: 0", "seed: 4"))
    with pytest.raises(UserError, match=r"config\.yaml: was made with another config: seed \(0 → 4\)"):
        begun.claim(load(begun.config))


def test_redo_of_a_later_stage_does_not_cover_an_earlier_change(begun: RunFolder) -> None:
    with pytest.raises(UserError, match="--redo prepare"):
        begun.claim(config(seed=1), redo="train")


def test_redo_forgets_that_stage_and_all_after_it(folder: RunFolder) -> None:
    for stage in ("prepare", "plan", "train"):
        folder.mark_done(stage, {}, [])
    folder.claim(config(), redo="plan")
    assert [folder.done(stage) is not None for stage in ("prepare", "plan", "train")] == [True, False, False]
    with pytest.raises(UserError, match="no stage"):
        folder.claim(config(), redo="sleep")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder(tmp_path).claim(config())


def test_one_process_at_a_time(folder: RunFolder) -> None:
    with (
        folder.locked(),
        pytest.raises(UserError, match="another splitjax process"),
        RunFolder(folder.path).locked(),
    ):
        raise AssertionError("two processes in one folder")


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"format": 99, "inputs": "", "outputs": {}}', "\x00"])
def test_a_damaged_record_is_refused_by_name(folder: RunFolder, text: str) -> None:
    folder.mark_done("fit", {}, [])
    (folder.path / "done" / "fit.json").write_text(text)
    with pytest.raises(UserError, match=r"fit\.json"):
        folder.is_done("fit", {})


DAMAGED_YAML = ["", "[", "- 1", "\x00", "a: !!python/object/apply:os.system [true]"]


@pytest.mark.parametrize("text", DAMAGED_YAML)
def test_a_damaged_config_is_written_anew_from_the_one_given(begun: RunFolder, text: str) -> None:
    whole = begun.config.read_text()
    begun.config.write_text(text)
    begun.claim(config())
    assert begun.config.read_text() == whole


@pytest.mark.parametrize("text", DAMAGED_YAML)
def test_without_its_record_a_damaged_config_is_refused_by_name(begun: RunFolder, text: str) -> None:
    record(begun).unlink()
    begun.config.write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        begun.claim(config())


def test_a_damaged_record_of_the_config_is_refused_by_name(begun: RunFolder) -> None:
    record(begun).write_text(record(begun).read_text().replace("0.98", "0.97"))
    with pytest.raises(UserError, match=r"\.config\.json: damaged"):
        begun.claim(config())


def test_an_edited_config_is_refused_by_key_though_the_folder_is_all_that_is_given(begun: RunFolder) -> None:
    begun.config.write_text(begun.config.read_text().replace("seed: 0", "seed: 7"))
    with pytest.raises(UserError, match=r"seed \(0 → 7\)"):
        begun.claim(load(begun.config))


def record(folder: RunFolder) -> Path:
    return folder.path / ".config.json"


def test_before_anything_is_made_the_config_may_change(folder: RunFolder) -> None:
    folder.claim(config(seed=3))
    folder.phases.mkdir()
    with pytest.raises(UserError, match="seed"):
        folder.claim(config(seed=4))


def test_a_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.claim(config())
        folder.forget_if_empty()
    assert not folder.path.exists()
    folder.claim(config())
    folder.observations.write_text("kept")
    folder.forget_if_empty()
    assert folder.config.exists()


def test_a_folder_that_was_there_before_stays_and_its_lock_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked():
        folder.claim(config())
        folder.forget_if_empty()
    assert [path.name for path in folder.path.iterdir()] == [".lock"]


def test_a_config_from_before_a_key_existed_is_still_the_same(begun: RunFolder) -> None:
    tree = read_json(record(begun))["config"]
    del tree["train"]["betas"]
    write_record(record(begun), {"format": FORMAT, "config": tree})
    begun.claim(config())


def test_a_launchers_logs_may_come_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "run" / "logs").mkdir(parents=True)
    folder = RunFolder(tmp_path / "run")
    folder.claim(config())
    folder.forget_if_empty()
    assert [path.name for path in folder.path.iterdir()] == ["logs"]


def test_what_was_taken_for_another_config_goes_with_it(folder: RunFolder) -> None:
    """Before anything is made a config may be mended; the law's picks for the one before are not for it."""
    for redo in (None, "sweep"):
        folder.splits.write_text("{}")
        folder.report.write_text("page")
        folder.claim(config(seed=3), redo)
        assert not folder.splits.exists()
        folder.mark_done("prepare", {}, [])
    assert not folder.report.exists(), "people open it without asking whether it holds"
    folder.splits.write_text("{}")
    folder.claim(config(seed=3), "fit")
    assert folder.splits.exists()


@pytest.mark.parametrize("kind", ["file", "device", "pipe", "link to nothing", "inside a file", "long"])
def test_a_run_dir_that_cannot_be_one_is_a_line(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "run"
    if kind in ("file", "inside a file"):
        place.touch()
        place = place / "x" if kind == "inside a file" else place
    elif kind == "device":
        place = Path("/dev/null")
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "link to nothing":
        place.symlink_to("nothing")
    else:
        place = tmp_path / ("n" * 300)
    before = [(path.name, path.lstat().st_mode) for path in tmp_path.iterdir()]
    with pytest.raises(UserError, match="cannot be written"), RunFolder(place).locked():
        raise AssertionError("worked there")
    assert [(path.name, path.lstat().st_mode) for path in tmp_path.iterdir()] == before


def test_a_link_and_the_folder_where_the_user_stands_are_run_dirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    monkeypatch.chdir(tmp_path / "there")
    for place in (tmp_path / "link", Path(".")):
        with RunFolder(place).locked():
            RunFolder(place).claim(config())
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "config.yaml").exists()
    (tmp_path / "there" / "config.yaml").unlink()
    (tmp_path / "there" / ".config.json").unlink()
    (tmp_path / "there" / "precious").touch()
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder(Path(".")).claim(config())
