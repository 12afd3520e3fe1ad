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
from splitjax.pipeline import observations
from splitjax.pipeline.job import Job

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
            )  # fmt: skip
        observations.write(job.folder.observations, rows)
        told = [row | {"questions": 10, "exact_match": 0.5} for row in rows]
        observations.write(job.folder.answers, told, observations.ANSWERS)


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """The three configs with small books and a law that is quick to fit."""
    folder = tmp_path / "configs"
    folder.mkdir()
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


def run(configs: Path, out: Path, *words: str) -> int:
    return phonebook.main(["--configs", str(configs), "--out", str(out), *words])


def rows_of(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_finished_parts_are_not_trained_again_here_or_in_a_fresh_clone(
    configs: Path, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(configs, first, "--dry-run") == 0
    assert trained.parts == []
    assert run(configs, first, "--part", "total") == 2
    assert "Run --part law first" in capsys.readouterr().err
    assert run(configs, first, "--part", "law", "--part", "total") == 0
    assert trained.parts == ["law", "total"]
    # The law named its splits of both T, and these were trained.
    named = read_json(first / "picks.json")["total"]
    assert [row["tokens"] for row in named] == [700_000, 2_800_000]
    assert "the law names" in capsys.readouterr().out
    assert run(configs, first) == 0
    assert trained.parts == ["law", "total", "per_model"]
    table, picks = (first / "rows.csv").read_bytes(), (first / "picks.json").read_bytes()
    assert run(configs, second, "--from", str(first / "rows.csv")) == 0
    assert trained.parts == ["law", "total", "per_model"]
    assert ((second / "rows.csv").read_bytes(), (second / "picks.json").read_bytes()) == (table, picks)
    assert (second / "phonebook.png").stat().st_size > 1000


def test_a_part_that_lacks_a_row_is_trained_again_and_the_others_are_kept(
    configs: Path, trained: Trained, tmp_path: Path
) -> None:
    assert run(configs, tmp_path / "out") == 0
    rows = rows_of(tmp_path / "out" / "rows.csv")
    cut = [row for row in rows if row is not next(row for row in rows if row["part"] == "per_model")]
    with open(tmp_path / "rows.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, phonebook.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(cut)
    (tmp_path / "picks.json").write_bytes((tmp_path / "out" / "picks.json").read_bytes())
    trained.parts.clear()
    assert run(configs, tmp_path / "clone", "--from", str(tmp_path / "rows.csv")) == 0
    assert trained.parts == ["per_model"]
    assert rows_of(tmp_path / "clone" / "rows.csv") == rows


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
