"""Figures of results.json beside those worked out by hand: three domains of unequal sizes, few windows."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from splitjax.config import from_dict
from splitjax.evaluate import Scores
from splitjax.evaluate.routing import Routed
from splitjax.model import flops_per_token, n_params
from splitjax.runs.cells import Clock
from splitjax.runs.phase_tree import Cell
from splitjax.scoring import recall, results, router_choice
from splitjax.scoring.router_choice import Measured

SIZES = {"code": 800, "law": 320, "prose": 480}
NLL_KMWS = np.arange(3 * 3 * 2 * 4).reshape(3, 3, 2, 4) ** 1.5 / 100 + 1
"""Of 3 experts on 3 domains, 2 windows of 4 targets each; the first target is the prefix."""


def job(accounting: str = "total", sweep: float = 0.0) -> Any:
    config = from_dict({
        "data": {"sources": [{"type": "installed_python"}]}, "budget": {"tokens": "1M", "accounting": accounting},
        "model": {"d_model": 16, "n_layers": 1, "n_heads": 2}, "train": {"seq_len": 8, "batch_size": 2}, "split": 0.5,
        "evaluate": {"prefix": 2},
    })
    manifest = SimpleNamespace(sizes=tuple(SIZES.values()), sizes_by_domain=SIZES, weights=None)
    corpus = SimpleNamespace(domains=tuple(SIZES), manifest=manifest)
    return SimpleNamespace(config=config, clock=Clock.of(config, 3), corpus=corpus, vocab_size=50,
                           sweep=sweep)


def cell(pretrain: int = 30, special: int = 10) -> Cell:
    return Cell(job().config.model, pretrain, special)


def test_losses_are_means_over_windows_and_bytes_count_all_targets() -> None:
    own_MWS = np.stack([NLL_KMWS[m, m] for m in range(3)])
    routed = Routed(np.array([[2.0, 3.0], [1.0, 1.0], [4.0, 8.0]]), np.array([[0, 1], [1, 1], [0, 0]]))
    saved = SimpleNamespace(router=SimpleNamespace(name="bayes"))
    told = results._losses(Measured(Scores(NLL_KMWS.astype(np.float32), 1), routed, saved), np.array([5, 0, 9]))
    assert told["test"]["domains"] == pytest.approx(own_MWS.mean((1, 2)))
    assert told["test"]["mean"] == pytest.approx(own_MWS.mean())
    assert told["test"]["perplexity"] == pytest.approx(math.exp(own_MWS.mean()))
    bits = own_MWS.sum((1, 2)) / math.log(2)
    assert told["bits_per_byte"] == pytest.approx([bits[0] / 5, bits[1], bits[2] / 9])
    after = told["after_prefix"]
    assert after["oracle"]["domains"] == pytest.approx(own_MWS[..., 1:].mean((1, 2)))
    assert after["routed"]["domains"] == [2.5, 1.0, 6.0]
    assert after["routing_accuracy"] == [0.5, 1.0, 0.0]
    assert (told["experts"], after["router"]) == (3, "bayes")


def test_one_model_has_no_router_and_every_domain() -> None:
    routed = Routed(np.ones((3, 2)), np.zeros((3, 2), int))
    told = results._losses(Measured(Scores(NLL_KMWS[:1].astype(np.float32), 1), routed), np.ones(3))
    assert told["test"]["domains"] == pytest.approx(NLL_KMWS[0].mean((1, 2)))
    assert (told["after_prefix"]["router"], told["after_prefix"]["routing_accuracy"]) == (None, None)


@pytest.mark.parametrize(("accounting", "fraction"), [("total", 0.5), ("per_model", 0.75)])
def test_what_was_spent_is_counted_over_all_models(accounting: str, fraction: float) -> None:
    """30 and 10 steps of 16 tokens; the second expert stopped 2 and a half steps early."""
    told = results._spent(job(accounting), cell(), [640, 600, 640])
    assert (told["d_pretrain"], told["d_special"]) == (480, 160)
    assert told["tokens"] == 480 + 160 + 120 + 160
    assert told["stopped_early"] == {"law": 600}
    assert told["fraction"] == fraction
    # Of the mixture each domain gives 480 · size / 1600; its expert reads 160 more.
    assert told["epochs"] == pytest.approx([(240 + 160) / 800, (96 + 160) / 320, (144 + 160) / 480])
    assert results._spent(job(), cell(40, 0), [640])["tokens"] == 640


def test_the_sweep_is_a_share_of_both_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "sweep_cost", lambda job: {"flops": job.sweep})
    made = job(sweep=5e6)
    told = results._costs(made, cell())
    flops = (30 + 3 * 10) * 16 * flops_per_token(made.config.model, 50, 8)
    assert (told["planned_tokens"], told["planned_flops"]) == (960, flops)
    assert told["sweep_share"] == pytest.approx(5e6 / (5e6 + flops))
    assert told["n_params"] == n_params(made.config.model)


def test_gains_are_of_the_planned_model_over_its_rival() -> None:
    better = Measured(Scores(NLL_KMWS.astype(np.float32), 1), Routed(np.full((3, 2), 2.0), np.zeros((3, 2), int)))
    worse_MW = np.array([[2.1, 2.3], [2.0, 2.2], [2.4, 3.0]])
    rival = Measured(Scores((NLL_KMWS[:1] * 1.5).astype(np.float32), 1), Routed(worse_MW, np.zeros((3, 2), int)))
    told = results._gains(better, rival)
    assert told["routed"]["nats"] == pytest.approx(2.0 / 6)
    assert told["routed"]["error"] == pytest.approx(np.linalg.norm(stats.sem(worse_MW, axis=1)) / 3)
    own_MWS = np.stack([NLL_KMWS[m, m] for m in range(3)])
    theirs_MWS = 1.5 * NLL_KMWS[0]
    assert told["oracle"]["nats"] == pytest.approx((theirs_MWS - own_MWS).mean(), rel=1e-5)
    assert told["oracle_after_prefix"]["nats"] == pytest.approx((theirs_MWS - own_MWS)[..., 1:].mean(), rel=1e-5)
    assert [each["nats"] for each in told["oracle_by_domain"]] == pytest.approx(
        (theirs_MWS - own_MWS).mean((1, 2)), rel=1e-5)


def test_a_row_of_the_routers_table_has_means_and_shares() -> None:
    validation_MW, test_MW = np.array([[1.0, 2.0], [4.0, 6.0]]), np.array([[1.0, 2.0], [3.0, 5.0]])
    routed = Routed(test_MW, np.array([[0, 1], [1, 1]]))
    told = router_choice._row("bayes", 2, validation_MW, test_MW, routed)
    assert told == {"router": "bayes", "experts_a_token": 2, "validation": 3.25, "test": 2.75,
                    "perplexity": pytest.approx(math.exp(2.75)), "domains": [1.5, 4.0], "accuracy": [0.5, 1.0]}
    assert router_choice._row("label", 1, validation_MW, test_MW)["accuracy"] is None


@pytest.mark.parametrize("experts", [1, 3])
def test_questions_are_counted_by_domain_and_put_to_its_expert(
    experts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of code 1 of 3 is right, of law 2 of 3, of prose the only one."""
    of = ["law", "code", "code", "prose", "law", "code", "law"]
    task: Any = SimpleNamespace(items=[SimpleNamespace(domain=name) for name in of])
    right_N = np.array([True, False, True, True, True, False, False])
    asked: list[list[int]] = []

    def answer(task: object, served: object, expert: list[int]) -> Any:
        asked.append(expert)
        return SimpleNamespace(right_N=right_N)

    monkeypatch.setattr(recall.tasks, "answer", answer)
    monkeypatch.setattr(recall, "Served", lambda *words: None)
    monkeypatch.setattr(recall, "Scorer", lambda *words: None)
    made, stack = job(), SimpleNamespace(experts=experts, params=None)
    made.corpus.tokenizer = None
    assert recall.recalled(made, task, None, stack) == {  # type: ignore[arg-type]
        "code": {"questions": 3, "exact_match": 0.333333}, "law": {"questions": 3, "exact_match": 0.666667},
        "prose": {"questions": 1, "exact_match": 1.0},
    }
    assert asked == [[1, 0, 0, 2, 1, 0, 1] if experts == 3 else [0] * 7]
