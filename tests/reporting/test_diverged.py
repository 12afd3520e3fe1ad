"""A run with an expert whose loss is no number ends in tables that say so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from splitjax import cli
from splitjax.evaluate.routers import truncated
from splitjax.reporting import model_table, tables, verdict
from splitjax.reporting.closing import closing
from splitjax.reporting.number_text import figure, least
from tests.stages.test_processes import tree


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path) -> Path:
    """The folder of a run whose expert of one domain takes steps as long as float32 allows, and longer."""
    folder = tmp_path_factory.mktemp("diverged")
    config = tree(corpus_file, folder, experts={"sums": {"rate": 1e45}})
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert cli.main(["run", str(config)]) == 0
    return folder


def test_the_tables_name_it_and_the_other_domains_keep_their_figures(
    ended: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = json.loads((ended / "run" / "results.json").read_text())
    planned = results["models"]["planned"]["test"]["domains"]
    assert [loss is None for loss in planned] == [domain == "sums" for domain in results["domains"]]
    assert results["models"]["planned"]["after_prefix"]["routed"]["mean"] is not None, "no text is given to it"
    assert cli.main(["run", str(ended / "c.yaml")]) == 0
    told = capfd.readouterr().out
    (row,) = [line for line in told.splitlines() if line.startswith("│ sums")]
    assert row.split("│")[-2].strip() == "diverged"
    assert "planned on sums" in " ".join(told.split()).partition("Diverged: ")[2]
    page = (ended / "run" / "report.html").read_text()
    assert ">diverged</td>" in page
    for word in ("nan", "None", "inf"):
        assert f">{word}</td>" not in page
        assert f" {word} %" not in page
        assert f"│ {word}" not in told


def test_where_nothing_is_left_to_compare_the_verdict_says_so(ended: Path) -> None:
    results = json.loads((ended / "run" / "results.json").read_text())
    plan = json.loads((ended / "run" / "plan.json").read_text())
    for gain in results["gains"].values():
        gain["routed"] = dict.fromkeys(gain["routed"])
    for model in results["models"].values():
        model["test"] |= {"mean": None, "domains": [None] * 3}
        model["after_prefix"]["routed"] |= {"mean": None, "perplexity": None}
    said = verdict.judge(plan, results)
    assert said.answer == "unknown"
    assert "Nothing can be said of splitting from this run." in said.text
    assert "diverged" in str(tables.domains(results))
    assert "diverged" in str(tables.gains(results))
    model_table.closing_table(results)
    closing(results | {"verdict": said.to_json()})


def test_a_router_gives_nothing_to_an_expert_without_a_score() -> None:
    logw_UK = truncated(np.array([[0.0, np.nan, -1.0], [np.nan, np.nan, 3.0]]), 3)
    assert np.exp(logw_UK).sum(1) == pytest.approx([1, 1])
    assert (logw_UK[:, 1] == -np.inf).all()


def test_figures() -> None:
    assert [figure(1.25, ".1f"), figure(None), figure(float("nan")), figure(float("inf"))] == ["1.2", *["diverged"] * 3]
    assert least([None, 2.0, float("nan"), 1.0]) == 1.0
    assert least([None]) is None
