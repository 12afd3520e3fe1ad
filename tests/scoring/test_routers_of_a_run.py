"""Which routers a run measures, and what its zero-shot tasks are told as: made-up windows and files, no training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.evaluate import Scores
from splitjax.scoring import router_choice, zero_shot
from splitjax.scoring.router_choice import Routing

NLL_KMWS = np.array([  # two experts, two domains, two windows of three targets; the first is the prefix
    [[[1, 2, 4], [3, 2, 2]], [[1, 6, 6], [4, 9, 7]]],
    [[[2, 5, 5], [2, 8, 6]], [[3, 1, 3], [3, 2, 4]]],
], np.float32)


def routing(monkeypatch: pytest.MonkeyPatch, *names: str, fail: str = "") -> Routing:
    """Of a run whose validation windows are the test windows, all a nat dearer after the prefix."""
    dearer = NLL_KMWS + np.array([0, 1, 1], np.float32)
    scores = {"test": Scores(NLL_KMWS, 1), "validation": Scores(dearer, 1)}

    def windows(job: Any, executor: Any, split: str) -> Any:
        return SimpleNamespace(score=lambda model, stack: scores[split] if stack == "experts" else Scores(
            scores[split].nll_KMWS[:1], 1), texts=[""] * 4, prefix=1)

    def make(name: str, prior: Any, clusterer: Any) -> Any:
        if name == fail:
            raise UserError("text without words")
        return real(name, prior, clusterer)

    real = router_choice.routers.make
    monkeypatch.setattr(router_choice, "Windows", windows)
    monkeypatch.setattr(router_choice, "merge", lambda stack: "mean")
    monkeypatch.setattr(router_choice.routers, "make", make)
    job: Any = SimpleNamespace(config=SimpleNamespace(evaluate=SimpleNamespace(routers=names)), corpus=SimpleNamespace(
        manifest=SimpleNamespace(sizes=(3, 1)), domains=("sea", "law"), tokenizer=SimpleNamespace(hash="words")))
    return Routing(job, None)  # type: ignore[arg-type]


def test_every_router_asked_for_is_told_beside_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the prefix the windows go to 0 (1 < 2), 1 (3 > 2), 0 (1 < 3) and 1 (4 > 3): half of them to their own."""
    found = routing(monkeypatch, "prefix", "average", "bayes").measure(None, "experts")  # type: ignore[arg-type]
    table: Any = found.table
    label, prefix, bayes, average = table["rows"]
    assert [row["router"] for row in table["rows"]] == ["label", "prefix", "bayes", "average"]
    assert (table["experts"], table["chosen"], table["left_out"]) == (2, "prefix", {})
    assert (label["domains"], label["validation"]) == ([2.5, 2.5], 3.5)
    assert (prefix["domains"], prefix["validation"]) == ([5.0, 4.5], 5.75)
    assert prefix["accuracy"] == [0.5, 0.5]
    assert prefix["settings"]["top"] == prefix["experts_a_token"] == 1
    assert bayes["experts_a_token"] == 2
    assert (average["domains"], average["accuracy"]) == ([2.5, 7.0], None), "as the first expert here"
    assert (average["validation"], average["test"], average["experts_a_token"], label["experts_a_token"]) == (
        5.75, 4.75, 1, 1)
    assert found.routed.choice_MW.tolist() == [[0, 1], [0, 1]]
    saved: Any = found.router
    assert (saved.router.name, saved.router.prior_K, saved.experts) == ("prefix", (0.75, 0.25), ("sea", "law"))
    assert (saved.prefix, saved.tokenizer) == (1, "words")
    assert saved.evidence == {"validation": {row["router"]: row["validation"] for row in table["rows"]}}


def test_one_model_has_no_routers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = routing(monkeypatch, "prefix").measure(None, "one")  # type: ignore[arg-type]
    assert (found.router, found.table) == (None, None)
    assert found.routed.loss_MW.tolist() == [[3.0, 2.0], [6.0, 8.0]]
    assert found.routed.choice_MW.tolist() == [[0, 0], [0, 0]]


def test_a_router_that_cannot_be_made_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made = routing(monkeypatch, "centroid", "bayes", fail="centroid")
    found = made.measure(None, "experts")  # type: ignore[arg-type]
    assert found.table is not None
    assert found.table["left_out"] == {"centroid": "text without words"}
    assert [row["router"] for row in found.table["rows"]] == ["label", "bayes"]
    with pytest.raises(UserError, match="none of these routers can be made"):
        routing(monkeypatch, "centroid", fail="centroid").measure(None, "experts")  # type: ignore[arg-type]


@pytest.mark.parametrize(("sample", "shown"), [(100, 33), (2, 1)])
def test_centroids_are_of_as_many_documents_of_each_domain(
    sample: int, shown: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(router_choice, "of_domains", lambda texts, settings, seed: (texts, seed))
    domains = ("sea", "law", "lab")
    made: Any = SimpleNamespace(job=SimpleNamespace(
        config=SimpleNamespace(seed=5, data=SimpleNamespace(domains=SimpleNamespace(sample_docs=sample))),
        corpus=SimpleNamespace(folder=tmp_path, domains=domains,
                               show=lambda domain, n, split: asked.append((n, split)) or domain)))
    assert Routing._clusterer.func(made) == ([*domains], 5)  # type: ignore[attr-defined]
    assert asked == [(shown, "train")] * 3


def test_the_clusterer_that_made_the_domains_is_the_one_if_it_reads_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / router_choice.CLUSTERER).touch()
    made: Any = SimpleNamespace(job=SimpleNamespace(
        config=SimpleNamespace(seed=5, data=SimpleNamespace(domains=SimpleNamespace(sample_docs=9))),
        corpus=SimpleNamespace(folder=tmp_path, domains=("sea",), show=lambda domain, n, split: domain)))
    monkeypatch.setattr(router_choice, "of_domains", lambda *words: "of labels")
    for words, expected in ((object(), "saved"), (None, "of labels")):
        saved = SimpleNamespace(tfidf=words)
        monkeypatch.setattr(router_choice.Clusterer, "load", lambda folder, saved=saved: saved)
        found = Routing._clusterer.func(made)  # type: ignore[attr-defined]
        assert found == (saved if expected == "saved" else expected)


@pytest.mark.parametrize(("experts", "names"), [(1, ("model",)), (2, ("sea", "law"))])
def test_each_task_is_answered_by_all_experts_or_the_one_model(
    experts: int, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(zero_shot, "Scorer", lambda *words: words)
    monkeypatch.setattr(zero_shot, "Served", lambda *words: words)
    monkeypatch.setattr(zero_shot.tasks, "answer", lambda task, served: SimpleNamespace(
        to_json=lambda experts: (task.name, served, experts)))
    made: Any = SimpleNamespace(tasks=[SimpleNamespace(name="a"), SimpleNamespace(name="b")], job=SimpleNamespace(
        corpus=SimpleNamespace(domains=("sea", "law"), tokenizer="words"), reporter=SimpleNamespace(now=said.append),
        config=SimpleNamespace(train=SimpleNamespace(seq_len=64))))
    stack: Any = SimpleNamespace(experts=experts, params="weights")
    served = ("words", ("shape", "weights", 64), "router", names)
    told = zero_shot.ZeroShot.answer(made, "shape", stack, "router")  # type: ignore[arg-type]
    assert told == {name: (name, served, names) for name in ("a", "b")}
    assert said == ["a", "b"]


def config(*patterns: str) -> Any:
    return SimpleNamespace(evaluate=SimpleNamespace(tasks=patterns))


def test_files_of_tasks_are_found_once_each_and_no_two_of_a_name(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c[1].jsonl", "deep/d.jsonl", "deep/a.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    here = str(tmp_path)
    found = zero_shot.files(config(f"{here}/[ab].jsonl", f"{here}/a.jsonl", f"{here}/c[1].jsonl", f"{here}/deep/d*"))
    assert [path.name for path in found] == ["a.jsonl", "b.jsonl", "c[1].jsonl", "d.jsonl"]
    assert zero_shot.inputs(config(f"{here}/a.jsonl")).keys() == {"a.jsonl"}
    with pytest.raises(UserError, match=r"evaluate\.tasks: two files are called 'a\.jsonl'\. Rename one of them\."):
        zero_shot.files(config(f"{here}/b.jsonl", f"{here}/a.jsonl", f"{here}/deep/*.jsonl"))
    with pytest.raises(UserError, match=r"evaluate\.tasks: no file matches '.*/e\*'"):
        zero_shot.files(config(f"{here}/*.jsonl", f"{here}/e*"))


def test_answers_are_summed_up_by_model() -> None:
    tasks = [SimpleNamespace(name="boolq", form="choice", items=[1, 2, 3]),
             SimpleNamespace(name="last", form="last_word", items=[1])]
    by_model = {name: {"boolq": {"accuracy": share}, "last": {"accuracy": 1}} for name, share in (("a", 0.5), ("b", 0))}
    made: Any = SimpleNamespace(tasks=tasks)
    told = zero_shot.ZeroShot.summary(made, by_model)
    assert told["tasks"] == {"boolq": {"form": "choice", "items": 3}, "last": {"form": "last_word", "items": 1}}
    assert told["models"] is by_model
    assert told["commonsense_average"] == {"a": None, "b": None}
    assert told["commonsense_missing"] == [
        "PIQA", "SIQA", "HellaSwag", "WinoGrande", "ARC-e", "ARC-c", "OpenBookQA"]
    assert zero_shot.ZeroShot.summary(SimpleNamespace(tasks=[]), by_model) == {}  # type: ignore[arg-type]
