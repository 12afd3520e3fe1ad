"""Options of `splitjax fit TABLE`, `plan --law` and `predict`: each changes what is said, or is refused in one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from splitjax import cli
from splitjax.law import LawFit, Table

from .bare import bare
from .synthetic import PRETRAIN, SIZES, TRUTHS, exact, table
from .test_command import failing, out
from .test_prediction import dense_law, loss_of


@pytest.fixture(scope="module")
def split_law(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("law") / "law.json"
    exact("effective_data", draws=20, spread=0.002).save(path)
    return path


@pytest.fixture(scope="module")
def size_law(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("law") / "law.json"
    dense_law(draws=20, spread=0.002).save(path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs as another team writes them: accuracies, FLOPs, one run twice, other columns."""
    rows = ["set,N (M),flops,acc,mark"]
    for n in SIZES:
        for d in PRETRAIN:
            acc = 1 - loss_of(n, d) / 10
            rows.append(f"c4,{n / 1e6:g},{6 * n * d:g},{acc!r},{int(d > 1e8)}")
            rows.append(f"pile,{n / 1e6:g},{6 * n * d:g},{acc - 0.05!r},")
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    path.write_text("\n".join([*rows, rows[1]]) + "\n")
    return path


COLUMNS = (
    "--column", "n_params=`N (M)`*1e6", "--column", "d_pretrain=flops/(6*n_params)", "--column", "loss=(1-acc)*10",
    "--bootstrap", "0", "--json",
)


def test_a_table_as_it_comes_is_fitted(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = out(capsys, "fit", runs, *COLUMNS, "--where", "set == c4", "--holdout", "mark == 1")
    assert told["n"] == 16
    assert told["holdout"]["n"] == 4, "the largest D of four N"
    assert told["parameters"]["E"] == pytest.approx(TRUTHS["chinchilla"]["E"], rel=0.01)
    assert told["notes"][:2] == [
        "1 row repeats another in every column and was dropped (runs.csv:42 is runs.csv:2 again).",
        'Of 40 rows, 20 were read: "set == c4".',
    ]
    both = out(capsys, "fit", runs, *COLUMNS, "--columns", "domain=set")
    assert both["n"] == 40
    assert set(both["parameters"]["E"]) == {"c4", "pile"}


def test_a_table_in_another_format_is_fitted(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split(",") for line in runs.read_text().splitlines()]
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(dict(zip(lines[0], row, strict=True))) + "\n" for row in lines[1:]))
    told = out(capsys, "fit", path, *COLUMNS, "--where", "set == c4")
    assert told["parameters"]["E"] == pytest.approx(TRUTHS["chinchilla"]["E"], rel=0.01)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--column", "loss=1-ac"], "column loss=1-ac: no column 'ac'. Did you mean 'acc'?"),
        (["--column", "loss"], "--column: 'loss' is not a pair such as loss=1-acc"),
        (["--column", "loss=acc", "--columns", "loss=acc"], "--column: 'loss' is given twice"),
        (["--column", "loss=1-set"], "column 'set' holds 'c4', not a number"),
        (["--where", "sett == c4"], "where: no column 'sett'. Did you mean 'set'?"),
        (["--where", "mark"], 'where: "mark" is no condition'),
        (["--holdout", "sett == c4"], "holdout: no column 'sett'. Did you mean 'set'?"),
        (["--domains", "separate"], "--domains separate: the table has one domain"),
        (["--redo", "fit"], "--redo: there is no run"),
    ],
)
def test_a_fit_that_is_refused_writes_nothing(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    base = ["--column", "n_params=`N (M)`*1e6", "--column", "d_pretrain=flops", "--json"]
    base += [] if any(word.startswith("loss") for word in words) else ["--column", "loss=acc"]
    law = tmp_path / "law.json"
    assert told in failing(capsys, "fit", runs, *base, *words, "--out", law)
    assert not law.exists()


def test_a_picture_that_cannot_be_drawn_leaves_no_law(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    law = tmp_path / "law.json"
    assert "no pictures of the kind 'law'" in failing(
        capsys, "fit", runs, *COLUMNS, "--where", "set == c4", "--out", law, "--plot", tmp_path / "picture.law"
    )
    assert not law.exists()


PLAN = ("--params", "10M", "--tokens", "200M", "--experts", "8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--compute", "1e16", "--params", "10M", "--experts", "8"], "--params with --compute"),
        (["--compute", "1e16", "--tokens", "1M", "--experts", "8"], "--tokens with --compute"),
        (["--compute", "1e16", "--accounting", "total", "--experts", "8"], "--accounting with --compute"),
        ([*PLAN, "--unique-special", "1M"], "--unique-special: the law knows no repeats"),
        ([*PLAN, "--unique-pretrain", "1M"], "--unique-pretrain: the law knows no repeats"),
        ([*PLAN, "--redo", "plan"], "--redo: there is no run"),
        (["--params", "20x", "--tokens", "1B", "--experts", "8"], "--params: 20x is tokens per parameter"),
        (["--compute", "20x", "--experts", "8"], "--compute: 20x is tokens per parameter"),
        (["--params", "10M", "--tokens", "nan", "--experts", "8"], "--tokens: nan is not a positive count"),
        (["--params", "10M", "--tokens", "-5", "--experts", "8"], "--tokens"),
        (["--params", "10M", "--tokens", "0", "--experts", "8"], "--tokens: 0 is not a positive count"),
        ([*PLAN, "--next-run", "5x"], "--next-run: 5x is tokens per parameter"),
    ],
)
def test_options_that_change_nothing_are_refused(
    split_law: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    picture = tmp_path / "plan.png"
    assert told in failing(capsys, "plan", "--law", split_law, *words, "--plot", picture)
    assert not picture.exists()


def test_tokens_per_parameter(split_law: Path, size_law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--params", "10M", "--experts", "8", "--json")
    told = out(capsys, "plan", "--law", split_law, "--tokens", "20x", *words)
    assert told["tokens"] == 2e8
    assert told == out(capsys, "plan", "--law", split_law, "--tokens", "200M", *words)
    found = out(capsys, "predict", "--law", size_law, "--params", "10M", "--pretrain", "20x", "--json")
    assert found["predicted_loss"] == pytest.approx(loss_of(1e7, 2e8))


def test_unique_tokens_count_where_the_law_knows_repeats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "law.json"
    repeats("R_special", 4.0).save(path)
    words = ("plan", "--law", path, *PLAN, "--json")
    assert out(capsys, *words, "--unique-special", "1M")["predicted_loss"] > out(capsys, *words)["predicted_loss"]
    assert "--unique-pretrain: the law knows no repeats" in failing(capsys, *words, "--unique-pretrain", "1M")
    asked = ("predict", "--law", path, "--params", "10M", "--pretrain", "100M", "--special", "12M", "--json")
    scarce = out(capsys, *asked, "--unique-special", "0.1x")
    assert scarce["predicted_loss"] > out(capsys, *asked)["predicted_loss"]


def repeats(half_life: str, value: float) -> LawFit:
    """`effective_data` with a half-life, and a table in which D' is twice the unique tokens."""
    base = exact("effective_data")
    form = dataclasses.replace(base.families[0].forms[0], repeats=(half_life,))
    x = np.append(base.families[0].xs[0], np.log(value))
    law = bare(dataclasses.replace(base, families=(dataclasses.replace(base.families[0], forms=(form,), xs=(x,)),)))
    return dataclasses.replace(law, table=dataclasses.replace(law.table, u_special=law.table.d_special / 2))


def test_a_law_of_d_alone_plans(size_law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ("plan", "--law", size_law)
    told = out(capsys, *plan, "--params", "5M", "--tokens", "100M", "--json")
    assert told["predicted_loss"] == pytest.approx(loss_of(5e6, 1e8))
    assert told["loss_interval"][0] < told["predicted_loss"] < told["loss_interval"][1]
    sized = out(capsys, *plan, "--compute", "6e15", "--json")
    assert sized["n_params"] * sized["tokens"] == pytest.approx(1e15)
    assert sized["n_params_interval"][0] < sized["n_params"] < sized["n_params_interval"][1]
    assert cli.main([str(word) for word in (*plan, "--params", "5M", "--tokens", "20x")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("One model: N = 5M, T = 100M\nPredicted loss ")
    assert "cannot say whether to split" in " ".join(shown.split())
    of_split = {"--experts": "8", "--accounting": "total", "--next-run": "1e15", "--propose": "0.1", "--plot": "x.png"}
    for words in of_split.items():
        said = failing(capsys, *plan, "--params", "5M", "--tokens", "100M", *words)
        assert f"{words[0]}: the law has no D'" in said
    assert "no domain 'law' in the law" in failing(
        capsys, *plan, "--params", "5M", "--tokens", "100M", "--weights", "law=1"
    )


def test_predict_prints_one_loss(split_law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("predict", "--law", split_law, "--params", "10M", "--pretrain", "100M", "--special", "5M")
    told = out(capsys, *words, "--json")
    law = LawFit.load(split_law)
    assert told["predicted_loss"] == pytest.approx(law.predict(1e7, 1e8, 5e6))
    assert told["interval"][0] < told["predicted_loss"] < told["interval"][1]
    assert out(capsys, *words[:-2], "--json")["predicted_loss"] == pytest.approx(law.predict(1e7, 1e8, 0.0))
    assert out(capsys, *words, "--family", "effective_data", "--json")["family"] == "effective_data"
    assert cli.main([str(word) for word in words]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Predicted loss {told['predicted_loss']:.4f} (")
    assert "at N = 10M, D = 100M, D' = 5M, by effective_data" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--domain", "law"], "no domain 'law' in the law"),
        (["--family", "effective"], "family 'effective' was not fitted. Did you mean 'effective_data'?"),
        (["--special", "1B"], "D' = 1B is 100 times outside the fitted 0 to 10M"),
        (["--special", "none"], "--special: 'none' is not a count"),
        (["--unique-pretrain", "1M"], "--unique-pretrain: the law knows no repeats"),
    ],
)
def test_what_predict_refuses(
    split_law: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert told in failing(capsys, "predict", "--law", split_law, "--params", "10M", "--pretrain", "100M", *words)


def test_predict_extrapolates_where_it_is_told_to(split_law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--params", "10M", "--pretrain", "100M", "--special", "1B", "--extrapolate", "--json")
    assert "D' lies 100.0 times above the fitted range." in out(capsys, "predict", "--law", split_law, *words)["notes"]


def test_rows_that_no_family_can_predict_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = table("effective_data", pretrain=(0.0, *PRETRAIN)).to_json()
    path = tmp_path / "runs.jsonl"
    lines = (dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("--bootstrap", "0", "--json")
    told = out(capsys, "fit", path, "--family", "multiplicative,transfer_gap", *words)
    # 4 N x 5 D without D', 4 N x 3 D' without D, of 4 x (6 x 4 - 1)
    lost = "32 of 92 rows are predicted by none of the families and were not used: 12 with D = 0, 20 with D' = 0."
    assert lost in told["notes"]
    some = out(capsys, "fit", path, "--family", "multiplicative,effective_data", *words)
    assert not any("none of the families" in note for note in some["notes"])


def test_a_table_of_a_program_has_its_notes_too() -> None:
    rows = [{"n_params": 1e6, "d_pretrain": 1e7, "loss": 3.5}] * 2
    told = "1 row repeats another in every column and was dropped (row 2 is row 1 again)."
    assert Table.from_rows(rows).notes == (told,)
