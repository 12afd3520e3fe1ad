"""`train.seeds`: the main run several times; the first is what it is without, and nothing of a sweep depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitjax.config import UserError, dump, from_dict
from splitjax.runs.cells import Clock, all_cells, main_cells, over_seeds
from splitjax.runs.phase_tree import Phase, grow
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.telling.phase_words import phase_words

from .test_cells import config


def phases(**train: Any) -> list[Phase]:
    chosen = config(seed=5, train={"seq_len": 64, "batch_size": 4, **train})
    cells = main_cells(chosen, Clock.of(chosen, 4), 0.5)
    return grow(all_cells(chosen, cells), chosen.train.decay_share)


def test_every_seed_trains_the_same_tree_and_the_first_is_the_runs_own() -> None:
    alone, three = phases(), phases(seeds=3)
    own = [phase for phase in three if phase.seeds == (None,)]
    assert own == alone, "names, spans and saved positions"
    for seed in (6, 7):
        further = [phase for phase in three if phase.seeds == (seed,)]
        assert [(phase.start, phase.stop, phase.on, phase.save_at) for phase in further] == [
            (phase.start, phase.stop, phase.on, phase.save_at) for phase in alone
        ]
        tags = {phase.name.split(".")[0] for phase in further}
        assert tags == {f"{alone[0].name.split('.')[0]}-s{seed}"}
    assert len(three) == 3 * len(alone)


def test_seeds_by_number() -> None:
    chosen = config(seed=5, train={"seeds": 3})
    cells = main_cells(chosen, Clock.of(chosen, 4), 0.5)
    found = over_seeds(chosen, cells)
    assert found[5] == cells
    assert {seed: {cell.seed for cell in own.values()} for seed, own in found.items()} == {5: {None}, 6: {6}, 7: {7}}
    assert all(list(own) == list(cells) for own in found.values())
    assert list(over_seeds(config(), cells)) == [0]


def test_a_phase_of_a_further_seed_says_so() -> None:
    told = {phase_words(phase, 256, 1000) for phase in phases(seeds=2)}
    assert any(words.endswith(", seed 6") for words in told)
    assert not any("seed" in phase_words(phase, 256, 1000) for phase in phases())


def test_no_hash_of_a_training_depends_on_how_many_there_are() -> None:
    """What was trained, and the small runs before it, stay when seeds are added."""
    assert config(train={"seeds": 3}).train.recipe() == config(train={}).train.recipe()
    began: dict[str, Any] = {}
    assert config(train={"seeds": 3}).train.recipe_before(began) == config(train={}).train.recipe_before(began)


def test_seeds_are_added_to_a_finished_run_by_the_stage_that_trains(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for made in (folder.path, folder.phases):
        made.mkdir()
    before, after = (config(run_dir=str(folder.path), train={"seeds": seeds}) for seeds in (1, 3))
    folder.config.write_text(
        "\n".join(line for line in dump(before).splitlines() if line.strip() != "seeds: 1"), encoding="utf-8"
    )  # as a splitjax without the key wrote it
    folder.claim(before)
    with pytest.raises(UserError, match=r"train\.seeds \(1 → 3\).*--redo train "):
        folder.claim(after)
    folder.claim(after, "train")




@pytest.mark.parametrize(
    ("changes", "message"),
    [({"train": {"seeds": 0}}, r"train\.seeds"), ({"train": {"seeds": 2}, "seed": 2**31 - 1}, r"beyond 2\^31")],
)
def test_numbers_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**changes)


def test_the_default_is_one() -> None:
    assert from_dict(config().resolved()).train.seeds == 1
