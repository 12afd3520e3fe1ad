"""`splitjax fit TABLE.csv` and `splitjax plan --law law.json`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from splitjax import cli
from splitjax.law import propose

from .synthetic import table


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file of the blending law."""
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    columns = table("blending", noise=0.01).to_json()
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture(scope="module")
def law(runs: Path) -> Path:
    out = runs.with_name("law.json")
    assert cli.main(["fit", str(runs), "--family", "blending", "--bootstrap", "30", "--out", str(out), "--json"]) == 0
    return out


def out(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict:
    assert cli.main([str(word) for word in words]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def failing(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert cli.main([str(word) for word in words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return shown.err


def test_fit_prints_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = out(
        capsys, "fit", runs, "--family", "blending", "--bootstrap", "20", "--json", "--holdout",
        "d_pretrain > 64000000", "--profile", "b",
    )
    keys = {"family", "parameters", "objective", "mre", "r2", "n", "holdout", "intervals", "families"}
    assert keys <= told.keys()
    assert told["family"] == "blending"
    assert set(told["parameters"]) == {"E", "A", "B", "a", "b", "k", "g", "h0", "q", "U"} == set(told["intervals"])
    assert {"n", "mre", "r2"} <= told["holdout"].keys()
    assert told["holdout"]["n"] == 16
    assert 0 < told["mre"] < 0.02
    assert [family["family"] for family in told["families"]] == ["blending"]
    assert told["profiles"]["b"]["interval"][0] < told["parameters"]["b"]


def test_fit_prints_text(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "law.png"
    words = ["fit", str(runs), "--family", "blending", "--bootstrap", "20", "--loss", "squared", "--plot",
             str(picture)]
    assert cli.main(words) == 0
    shown = capsys.readouterr()
    assert "blending: L = E + A/N^a" in shown.out
    assert "held-out mre" in shown.out
    assert "fitted blending" in shown.err
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_fit_help_has_every_formula(capsys: pytest.CaptureFixture[str]) -> None:
    from splitjax.law.fitting.families import FAMILIES

    with pytest.raises(SystemExit):
        cli.main(["fit", "--help"])
    shown = " ".join(capsys.readouterr().out.split())  # a long one goes on on the next line
    assert all(f"{name}" in shown and family.formula in shown for name, family in FAMILIES.items())


def test_plan_prints_json(law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("plan", "--law", law, "--params", "30M", "--tokens", "1B", "--experts", "8", "--json")
    told = out(capsys, *words)
    keys = ("decision", "split_fraction", "d_pretrain", "d_special", "predicted_loss", "interval", "flat_region")
    assert {*keys, "baselines"} <= told.keys()
    assert told["d_pretrain"] + 8 * told["d_special"] == pytest.approx(1e9, rel=1e-6)
    assert told["interval"][0] <= told["split_fraction"] <= told["interval"][1]
    each = out(capsys, *words, "--accounting", "per_model", "--extrapolate")  # D' is far beyond the table's 10M
    assert each["d_pretrain"] + each["d_special"] == pytest.approx(1e9, rel=1e-6)
    proposed = out(capsys, *words, "--propose", "0.2")["proposed"]
    assert 0 < proposed["share"] <= 0.2
    assert len(proposed["cells"]) > 0
    with_next = out(capsys, *words, "--next-run", "1e16")
    assert with_next["next_run"]["flops"] <= 1e16


def test_plan_prints_text_and_a_picture(law: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "plan.png"
    words = ["plan", "--law", str(law), "--params", "30M", "--tokens", "1B", "--experts", "8", "--plot", str(picture)]
    assert cli.main([*words, "--next-run", "1e16"]) == 0
    shown = capsys.readouterr().out
    assert "Split at" in shown
    assert "90 % interval" in shown
    assert "Next run: N =" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_plan_chooses_n_for_a_compute_budget(law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = out(capsys, "plan", "--law", law, "--compute", "1e17", "--experts", "8", "--json")
    assert 6 * told["n_params"] * told["tokens"] == pytest.approx(1e17)
    assert told["n_params_interval"][0] <= told["n_params"] <= told["n_params_interval"][1]


def test_mistakes_get_one_line(runs: Path, law: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ("plan", "--law", law, "--experts", "8")
    assert "100 times outside" in failing(capsys, *plan, "--params", "1B", "--tokens", "1B")
    assert out(capsys, *plan, "--params", "1B", "--tokens", "1B", "--extrapolate", "--json")["n_params"] == 1e9
    assert "--params and --tokens are missing" in failing(capsys, *plan)
    assert "--experts is missing" in failing(capsys, "plan", "--law", law)
    assert "not a count" in failing(capsys, *plan, "--params", "big", "--tokens", "1B")
    assert "no such file" in failing(capsys, "plan", "--law", tmp_path / "none.json", "--experts", "8")
    assert "no domain 'law'" in failing(capsys, *plan, "--params", "30M", "--tokens", "1B", "--weights", "law=1")
    assert "no such table" in failing(capsys, "fit", tmp_path / "none.csv", "--json")
    assert "no law family 'blend'" in failing(capsys, "fit", runs, "--family", "blend", "--json")
    assert "no column 'los'" in failing(capsys, "fit", runs, "--columns", "loss=los", "--json")
    assert "not a pair" in failing(capsys, "fit", runs, "--columns", "loss", "--json")


def test_first_runs_are_proposed_without_a_law(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--params", "30M", "--tokens", "1B", "--experts", "8"]
    told = out(capsys, *words, "--json", "--propose", "0.2")["proposed"]
    assert told == propose(3e7, 1e9, 8, 0.2).to_json()
    assert out(capsys, *words, "--json", "--propose", "0.2", "--accounting", "per_model")["proposed"] != told
    assert cli.main([*words, "--propose", "0.2"]) == 0
    table = capsys.readouterr().out
    assert f"{len(told['cells'])} small runs for" in table.splitlines()[0]
    assert len(table.splitlines()) == 3 + len(told["cells"]), "a head of two lines, names, and a line a run"
    for more, message in (
        (["--propose", "0.2", "--next-run", "1e15"], "--next-run: needs a law"),
        (["--propose", "1e-9"], "do not pay for 3 small models"),
        (["--propose", "500"], "times the main run's FLOPs"),
    ):
        assert cli.main([*words, *more]) == 2
        assert message in capsys.readouterr().err
    assert cli.main(["plan", "--params", "30M", "--propose", "0.1"]) == 2
    assert "--params, --tokens and --experts say" in capsys.readouterr().err
