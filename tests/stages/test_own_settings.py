"""`train.experts` in a run: rates, clips and an early stop of single experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from splitjax import stages
from splitjax.config import UserError, from_dict
from splitjax.train import checkpoint, pick, read_metrics
from tests.train.helpers import same_bits

from .test_processes import tree


def run(corpus_file: Path, folder: Path, experts: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    folder.mkdir()
    made = yaml.safe_load(tree(corpus_file, folder, experts=experts).read_text()) | {"budget": {"tokens": "9k"}}
    results = stages.run(from_dict(made))
    tag, pretrain, _ = results["models"]["planned"]["cell"].split(".")
    (end,) = folder.glob(f"run/phases/{tag}.trunk.experts{pretrain.removeprefix('D')}.*")
    return results, end


@pytest.mark.slow
def test_settings_of_one_expert_leave_the_others_as_they_are(tmp_path: Path, corpus_file: Path) -> None:
    plain, there = run(corpus_file, tmp_path / "plain", {})
    own, here = run(
        corpus_file, tmp_path / "own",
        # A rate that makes every loss worse.
        {"sums": {"rate": 0.5}, "colours": {"rate": 200.0, "patience": 1}, "*": {"every": 128}},
    )
    names = plain["domains"]
    one, other = (checkpoint.restore_latest(end / "checkpoints") for end in (there, here))
    assert one is not None
    assert other is not None
    moves, sums = names.index("moves/<turns>"), names.index("sums")
    assert same_bits(pick(one[0], [moves]), pick(other[0], [moves]))
    assert not same_bits(pick(one[0], [sums]), pick(other[0], [sums]))
    rates = [[row["rate"][sums] for row in read_metrics(end / "metrics.jsonl")] for end in (there, here)]
    assert rates[1] == pytest.approx([rate / 2 for rate in rates[0]])
    ours, theirs = own["models"]["planned"], plain["models"]["planned"]
    assert ours["stopped_early"].keys() == {"colours"}
    assert theirs["stopped_early"] == {}
    assert ours["tokens"] < theirs["tokens"] == plain["models"]["dense"]["tokens"]


def test_a_domain_that_is_not_there_is_refused(tmp_path: Path, corpus_file: Path) -> None:
    with pytest.raises(UserError, match=r"train\.experts: no domain 'sum'\. Did you mean 'sums'"):
        run(corpus_file, tmp_path / "p", {"sum": {"rate": 0.5}})
