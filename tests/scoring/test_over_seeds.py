"""What a run scores, by which seed and how far it is, with stand-ins for models: no training, figures by hand."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splitjax.evaluate import Scores
from splitjax.evaluate.routing import Routed
from splitjax.scoring import results
from splitjax.scoring.router_choice import Measured

K = 3
LOSS = {("own", 0): 3.0, ("half", 0): 3.25, ("all", 0): 3.5, ("own", 1): 3.5, ("half", 1): 3.25, ("all", 1): 4.0}
"""Of phase and seed: experts split at a quarter and at 60 % of the budget, one model."""
STEPS = {"planned": (10, 10), "80/20": (24, 16 // 3), "dense": (40, 0)}


@dataclass(frozen=True)
class Phase:
    """Experts, or one model."""

    name: str
    seed: int

    model = "shape"

    def stack_size(self, experts: int) -> int:
        return 1 if self.name == "all" else experts


@dataclass(frozen=True)
class At:
    """Where a stack lies."""

    phase: Phase
    step: int


class Reporter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shares: list[float] = []

    def now(self, what: str) -> None:
        self.said.append(what)

    def progress(self, share: float) -> None:
        self.shares.append(share)


def measured(phase: Phase) -> Measured:
    """Two domains of two windows of two targets; routed it is a tenth worse than with the label known."""
    loss = LOSS[phase.name, phase.seed]
    return Measured(Scores(np.full((1, 2, 2, 2), loss, np.float32), 1), Routed(np.full((2, 2), loss + 0.1),
                                                                               np.zeros((2, 2), int)))


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Any:
    names = {"planned": "own", "80/20": "half", "dense": "all", "dense_equal_compute": "all"}
    cells = {seed: {name: SimpleNamespace(seed=seed) for name in names} for seed in (0, 1)}
    monkeypatch.setattr(results, "over_seeds", lambda config, own: {0: own, 1: cells[1]} if config.more else {0: own})
    monkeypatch.setattr(results, "places", lambda job, own: {
        name: At(Phase(names[name], cell.seed), 7) for name, cell in own.items()})
    validation = {name: {"law": 1.0, "sea": 2.0} for name in names}
    monkeypatch.setattr(results, "read_json", lambda path: {"seeds": {
        "0": validation, "1": validation | {"planned": {"law": 2.0, "sea": None}, "dense": {"law": 2.0, "sea": 4.0}}}})
    made = SimpleNamespace(
        config=SimpleNamespace(seed=0, more=True, train=SimpleNamespace(seeds=2)), reporter=Reporter(),
        clock=SimpleNamespace(share=K, experts=K), folder=SimpleNamespace(main="main.json"),
        corpus=SimpleNamespace(domains=("sea", "law")),
        cells={name: SimpleNamespace(seed=0, pretrain=steps[0], special=steps[1])
               for name, steps in STEPS.items()} | {
            "dense_equal_compute": SimpleNamespace(seed=0, pretrain=80, special=0)},
    )
    made.executor = SimpleNamespace(model=lambda shape: shape, stack_at=lambda phase, step: (phase, step),
                                    seen=lambda phase, stack: [len(phase.name)])
    made.routing = SimpleNamespace(measure=lambda model, stack: measured(stack[0]))
    return made


def test_every_seed_is_measured_and_the_best_split_is_a_share_of_the_budget(job: Any) -> None:
    """10 of 10 + 3 · 10 steps before the split, 24 of 24 + 3 · 5: 25 and 61.5 %; the second seed prefers the latter."""
    first = {name: measured(Phase(phase, 0)) for name, phase in
             (("planned", "own"), ("80/20", "half"), ("dense", "all"), ("dense_equal_compute", "all"))}
    told = results._over_seeds(job, job.executor, job.cells, job.routing, first)["seeds"]
    assert told["seeds"] == [0, 1]
    assert told["best_split"]["by_seed"] == pytest.approx([0.25, 24 / 39])
    assert told["models"]["planned"]["routed"]["by_seed"] == pytest.approx([3.1, 3.6])
    assert told["models"]["dense"]["oracle"] == {"by_seed": [3.5, 4.0], "mean": 3.75, "error": pytest.approx(0.25)}
    assert told["gains"]["planned_vs_80/20"]["routed"]["by_seed"] == pytest.approx([0.25, -0.25])
    assert told["models"]["dense"]["validation"] == {"by_seed": [1.5, 3.0], "mean": 2.25, "error": pytest.approx(0.75)}
    assert np.isnan(told["models"]["planned"]["validation"]["mean"]), "diverged on one domain of one seed"
    # Sets of three read the windows 8 times, one model once: 0, 8 and 16 of 17, in the second half.
    assert job.reporter.said == ["planned, seed 1", "80/20, seed 1", "dense, seed 1"]
    assert job.reporter.shares == pytest.approx([0.5, (1 + 8 / 17) / 2, (1 + 16 / 17) / 2])


def test_of_one_seed_there_is_nothing_to_tell(job: Any) -> None:
    job.config.more = False
    assert results._over_seeds(job, job.executor, job.cells, job.routing, {}) == {}


def test_what_lies_in_one_place_is_measured_once(job: Any) -> None:
    """The model of equal compute is the dense one here."""
    asked: list[Any] = []

    def answer(model: Any, stack: Any, router: Any) -> dict[str, int]:
        asked.append((stack, router))
        return {"t": len(asked)}

    zero_shot: Any = SimpleNamespace(answer=answer)
    found, seen = results._measure_all(job, job.executor, job.cells, job.routing, zero_shot)
    assert asked == [((Phase(name, 0), 7), None) for name in ("own", "half", "all")]
    assert {name: (one.answers, seen[name]) for name, one in found.items()} == {
        "planned": ({"t": 1}, [3]), "80/20": ({"t": 2}, [4]), "dense": ({"t": 3}, [3]),
        "dense_equal_compute": ({"t": 3}, [3])}
    assert found["80/20"].routed.loss_MW.tolist() == [[3.35, 3.35]] * 2
    assert job.reporter.said == ["planned", "80/20", "dense"]
    assert job.reporter.shares == pytest.approx([0.0, 4 / 17, 8 / 17]), "the first of two seeds"
