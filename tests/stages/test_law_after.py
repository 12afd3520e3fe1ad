"""`fit --with-results`: the measured models join the law, and nothing that was there before changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from splitjax import cli, stages
from splitjax.config import load
from splitjax.law import LawFit
from splitjax.runs.run_folder import LAW_AFTER, RunFolder
from splitjax.stages import law_after
from tests.whole_run import copied


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, whole_run: Path) -> Path:
    """A whole run with a law, and with one more model to compare. Returns its config."""
    config = copied(whole_run, tmp_path_factory.mktemp("after"))
    tree = yaml.safe_load(config.read_text())
    tree["evaluate"] |= {"compare": [0.0]}
    config.write_text(yaml.safe_dump(tree))
    stages.run(load(config), redo="train")
    return config


def test_measured_models_join_the_law_and_all_else_stays(
    ended: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended.parent / "run"
    kept = ["law.json", "plan.json", "observations.csv", "main.json", "done/fit.json", "done/plan.json"]
    before = {name: (run / name).read_bytes() for name in kept}
    page = (run / "report.html").read_text()
    assert "before and after" not in page
    capsys.readouterr()
    assert cli.main(["fit", str(ended), "--with-results"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "with the measured models: best split" in told
    assert {name: (run / name).read_bytes() for name in kept} == before
    law, after = LawFit.load(run / "law.json"), LawFit.load(run / "law_after.json")
    models = json.loads((run / "main.json").read_text())["models"]
    results = json.loads((run / "results.json").read_text())["models"]
    cells = {each["cell"] for each in results.values() if "cell" in each}
    assert set(after.table.run) - set(law.table.run) == cells
    assert len(after.table) == len(law.table) + len(after.domains) * len(cells)
    largest = after.table.n_params.max()
    assert largest > law.table.n_params.max()
    dense = (after.table.n_params == largest) & (after.table.d_special == 0)
    for domain, loss in models["dense"].items():
        assert after.table.loss[dense & (after.table.domain == domain)] == pytest.approx([loss], abs=1e-6)
    page = (run / "report.html").read_text()
    assert "The law before and after this run" in page
    monkeypatch.setattr(law_after, "fit_table", lambda *again: pytest.fail("fitted again"))
    assert cli.main(["fit", str(ended), "--with-results"]) == 0
    assert "done before" in capsys.readouterr().err


def test_a_law_of_other_models_is_not_believed(ended: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(ended.parent / "run", copy)
    words = [str(ended), f"run_dir={copy}"]
    assert cli.main(["fit", *words, "--with-results"]) == 0
    assert RunFolder(copy).belongs(LAW_AFTER)
    main = json.loads((copy / "main.json").read_text())
    main["models"]["dense"] = {domain: loss + 0.1 for domain, loss in main["models"]["dense"].items()}
    (copy / "main.json").write_text(json.dumps(main))
    assert not RunFolder(copy).belongs(LAW_AFTER)


def test_refusals(ended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(ended), f"run_dir={tmp_path / 'none'}", "--with-results"]
    assert cli.main(["fit", *words]) == 2
    assert "stage train has not run" in capsys.readouterr().err
    assert cli.main(["fit", *words, "split=0.5", "sweep=null"]) == 2
    assert "no law to join" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("n_params,d_pretrain,loss\n1,1,1\n")
    assert cli.main(["fit", str(tmp_path / "t.csv"), "--with-results"]) == 2
    assert "a table has no results" in capsys.readouterr().err
