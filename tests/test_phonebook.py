"""The phonebook study: configs that agree, and a tool that goes on from finished rows. Training is faked here."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from splitjax.config import load, read_json
from splitjax.model import n_params
from splitjax.runs.job import Job
from splitjax.runs.sweeping import observations

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import phonebook  # noqa: E402

NAMES = list(phonebook.PARTS)


def test_the_three_configs_differ_in_sweep_and_accounting_alone() -> None:
    trees = [load(ROOT / "configs" / file).resolved() for file in phonebook.PARTS.values()]
    for key in ("data", "model", "train", "evaluate", "seed"):
        assert all(tree[key] == trees[0][key] for tree in trees), key
    assert [tree["budget"]["accounting"] for tree in trees] == ["total", "total", "per_model"]


def test_the_union_exceeds_what_a_model_can_hold_and_a_book_does_not() -> None:
    config = load(ROOT / "configs" / "phonebook_total.yaml")
    (source,), size = config.data.sources, n_params(config.model)
    book = source.entries * 7 * 3.3219
    assert book < size < 2 * size < source.books * book
    assert config.sweep is not None
    four = n_params(config.sweep.list[-1].models[0])
    assert 3.6 < four / size < 4.4
    assert four > source.books * book


class Trained:
    """In place of training: losses and answers by a formula, and a note of what was asked."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def __call__(self, job: Job, jobs: int) -> None:
        self.parts.append(job.folder.path.name)
        rows = []
        for cell in job.sweep_cells:
            seen = cell.pretrain / 4 + cell.special
            losses = dict.fromkeys(job.corpus.domains, 0.4 + 2 / n_params(cell.model) ** 0.2 + 3 / seen**0.3)
            rows += observations.rows_of(
                cell, losses, tokens_per_step=job.clock.tokens_per_step, sizes=job.corpus.manifest.sizes_by_domain,
                vocab_size=257, seed=cell.seed or 0,
            )
        observations.write(job.folder.observations, rows)
        told = [row | {"questions": 10, "exact_match": 0.5} for row in rows]
        observations.write(job.folder.answers, told, observations.ANSWERS)


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three configs with small books and a law that is quick to fit."""
    folder = tmp_path_factory.mktemp("configs")
    for file in phonebook.PARTS.values():
        text = (ROOT / "configs" / file).read_text()
        text = re.sub(r"books: \d+, entries: \d+", "books: 2, entries: 10", text)
        (folder / file).write_text(text + "\nlaw: {families: [effective_data], bootstrap: 10}\n")
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    fake = Trained()
    monkeypatch.setattr(phonebook.stages, "run_sweep", fake)
    return fake


@pytest.fixture(scope="module")
def finished(configs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose parts were all done, one after another."""
    out, fake = tmp_path_factory.mktemp("study") / "out", Trained()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phonebook.stages, "run_sweep", fake)
        assert run(configs, out, "--dry-run") == 0
        assert fake.parts == []
        assert run(configs, out, "--part", "total") == 2  # the law has not been fitted
        assert run(configs, out, "--part", "law", "--part", "total") == 0
        assert fake.parts == ["law", "total"]
        assert run(configs, out) == 0
        assert fake.parts == ["law", "total", "per_model"]
    return out


def run(configs: Path, out: Path, *words: str) -> int:
    return phonebook.main(["--configs", str(configs), "--out", str(out), *words])


def rows_of(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_fresh_clone_goes_on_from_finished_parts_and_trains_none(
    configs: Path, finished: Path, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(configs, tmp_path, "--from", str(finished / "rows.csv")) == 0
    assert trained.parts == []
    for name in ("rows.csv", "picks.json"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()
    assert (tmp_path / "phonebook.png").stat().st_size > 1000
    told = capsys.readouterr().out
    assert told.count("the law names") == 3
    assert "50.0 ± 0.0 %" in told


@pytest.mark.slow
def test_the_law_names_its_splits_before_a_curve_is_trained_and_they_are_among_its_cells(finished: Path) -> None:
    named = read_json(finished / "picks.json")["total"]
    assert [row["tokens"] for row in named] == [700_000, 2_800_000]
    for row in named:
        d_pretrain = {int(each["d_pretrain"]) for each in rows_of(finished / "rows.csv") if each["part"] == "total"}
        assert min(abs(d - row["split_fraction"] * row["tokens"]) for d in d_pretrain) <= 512


@pytest.mark.slow
def test_a_part_that_lacks_a_row_is_trained_again_and_the_others_are_kept(
    configs: Path, finished: Path, trained: Trained, tmp_path: Path
) -> None:
    rows = rows_of(finished / "rows.csv")
    lost = next(row for row in rows if row["part"] == "per_model")
    with open(tmp_path / "rows.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, phonebook.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows if row is not lost)
    (tmp_path / "picks.json").write_bytes((finished / "picks.json").read_bytes())
    out = tmp_path / "clone"
    out.mkdir()
    (out / "law.json").write_bytes((finished / "law.json").read_bytes())
    assert run(configs, out, "--from", str(tmp_path / "rows.csv")) == 0
    assert trained.parts == ["per_model"]
    assert rows_of(out / "rows.csv") == rows


def test_a_table_of_something_else_is_refused_by_line(
    configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("part,run\nlaw,a\nother,b\n")
    assert run(configs, tmp_path / "out", "--from", str(tmp_path / "bad.csv"), "--dry-run") == 2
    assert "bad.csv:3" in capsys.readouterr().err
    assert run(configs, tmp_path / "out", "--part", "totla") == 2
    assert "Did you mean 'total'" in capsys.readouterr().err


def test_a_curve_has_the_eight_fractions_and_a_place_for_the_law(configs: Path) -> None:
    part = phonebook.Study(configs, Path("nowhere"), 1).part("per_model")
    assert part.clock.experts == 2
    assert part.clock.share == 1
    fractions = {cell.pretrain / cell.path for cell in part.cells if cell.seed == 1}
    assert {round(fraction, 2) for fraction in fractions} == {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1}
