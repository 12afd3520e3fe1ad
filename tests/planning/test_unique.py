"""A corpus that a run goes through several times: whoever asks a law must say how much of it there is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from splitjax.config import Config, from_dict
from splitjax.planning import main_plan
from splitjax.runs.cells import Clock
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.sweeping import law_splits

SHAPE = {"d_model": 16, "n_layers": 1, "n_heads": 2}
SIZES = {"book_0": 1000, "book_1": 500}


class AskedError(Exception):
    """Raised in place of a plan, with what was asked."""


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Config:
    def asked(law: Any, **budget: Any) -> None:
        raise AskedError(budget)

    for module in (main_plan, law_splits):
        monkeypatch.setattr(module.law, "plan", asked)
        monkeypatch.setattr(module.law.LawFit, "load", lambda path: SimpleNamespace(family="additive"))
    manifest = SimpleNamespace(sizes_by_domain=SIZES, weights=None)
    monkeypatch.setattr(law_splits.Manifest, "load", lambda folder: manifest)
    (tmp_path / "law.json").write_text("{}")
    return from_dict({
        "run_dir": str(tmp_path / "run"), "data": {"sources": [{"type": "phonebook", "books": 2}]}, "model": SHAPE,
        "train": {"seq_len": 32}, "evaluate": {"prefix": 8}, "budget": {"tokens": "1M"},
        "sweep": {"models": SHAPE, "tokens": "1M", "split": "law", "law": str(tmp_path / "law.json")},
    })


def test_the_plan_of_a_run_and_the_splits_of_a_sweep_know_it(config: Config) -> None:
    clock = Clock.of(config, 2)
    with pytest.raises(AskedError) as of_run:
        main_plan.make_plan(config, clock, SIZES, Path(str(config.sweep and config.sweep.law)))
    with pytest.raises(AskedError) as of_sweep:
        law_splits.listed(config, clock, RunFolder(config.folder))
    for told in (of_run, of_sweep):
        assert told.value.args[0]["u_pretrain"] == 1500
        assert told.value.args[0]["u_special"] == SIZES


def test_under_weights_of_its_own_the_mixture_has_what_each_domain_has(config: Config) -> None:
    """Of a million tokens nearly all are asked of book_0, which has 1,000; of book_1 300, which has 500."""
    mixture = {"book_0": 9997, "book_1": 3}
    weighted = from_dict(config.resolved() | {"train": config.resolved()["train"] | {"mixture": mixture}})
    clock = Clock.of(weighted, 2)
    with pytest.raises(AskedError) as of_run:
        main_plan.make_plan(weighted, clock, SIZES, Path(str(config.sweep and config.sweep.law)))
    with pytest.raises(AskedError) as of_sweep:
        law_splits.listed(weighted, clock, RunFolder(config.folder))
    for told in (of_run, of_sweep):
        assert told.value.args[0]["u_pretrain"] == 1000 + 300
