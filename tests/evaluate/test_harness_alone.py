"""What is asked of lm-eval and what is made of its answer, with a stand-in for it: none of this needs it installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from splitjax.config import UserError
from splitjax.evaluate import harness
from splitjax.evaluate.generate import Sampling

FOUND = {
    "results": {
        "words": {"alias": "words", "acc,none": 0.625, "acc_stderr,none": "N/A", "sample_len": 8, "better,none": True},
        "free": {"acc,first": 1, "f1,first": 0.25},
    },
    "n-shot": {"words": 2},
}
SPLITS = ("test_split", "validation_split", "training_split", "fewshot_split")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What lm-eval was asked, by call; its answer is FOUND."""
    calls: list[dict[str, Any]] = []
    named = ("lm_eval", "lm_eval.api", "lm_eval.api.model", "lm_eval.api.metrics", "lm_eval.api.registry",
             "lm_eval.tasks")
    made: dict[str, Any] = {name: ModuleType(name) for name in named}

    def manager(include_defaults: bool) -> Any:
        calls.append({"include_defaults": include_defaults})
        return SimpleNamespace(all_tasks=["words", "free"])

    made["lm_eval"].simple_evaluate = lambda **words: calls.append(words) or FOUND
    made["lm_eval.api.model"].LM = object
    made["lm_eval.api"].metrics, made["lm_eval.api"].registry = made[named[3]], made[named[4]]
    made["lm_eval.api.registry"].METRIC_REGISTRY = {"acc": None}
    made["lm_eval.tasks"].TaskManager = manager
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def test_metrics_are_numbers_without_the_names_of_filters(asked: list[dict[str, Any]]) -> None:
    served: Any = SimpleNamespace()
    assert harness.evaluate(served, ["words", "free"], limit=5, shots=2) == {
        "words": {"acc": 0.625, "sample_len": 8.0, "num_fewshot": 2},
        "free": {"acc": 1.0, "f1": 0.25, "num_fewshot": 0},
    }
    made, call = asked
    assert made == {"include_defaults": True}
    assert call.pop("model").served is served
    assert call.pop("task_manager").all_tasks == ["words", "free"]
    assert call == {"tasks": ["words", "free"], "num_fewshot": 2, "limit": 5, "bootstrap_iters": 100,
                    "log_samples": False, "verbosity": "ERROR"}
    assert harness.evaluate(served, ["free"], samples=True) is FOUND
    assert [asked[-1][key] for key in ("log_samples", "num_fewshot", "limit")] == [True, None, None]
    with pytest.raises(UserError, match=r"--tasks: lm-eval has no task 'word'. Did you mean 'words'\?"):
        harness.evaluate(served, ["word"])


def test_what_lm_eval_cannot_run_is_told_in_a_line(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**words: Any) -> None:
        raise error

    monkeypatch.setattr(sys.modules["lm_eval"], "simple_evaluate", fail)
    served: Any = SimpleNamespace()
    error: Exception = OSError("no\n such  set " + "x" * 400)
    with pytest.raises(UserError) as refused:
        harness.evaluate(served, ["words", "free"])
    assert str(refused.value) == (f"words,free: lm-eval could not run it (no such set {'x' * 288}). Its data must be "
                                  "local or in the cache.")
    error = AssertionError()
    with pytest.raises(UserError, match=r"could not run it \(AssertionError\)"):
        harness.evaluate(served, ["words"])
    error = TypeError("a mistake of ours: there is no file that could be blamed")
    with pytest.raises(TypeError):
        harness.evaluate(served, ["words"])


def test_a_task_file_is_read_here_and_what_its_data_lack_is_told(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """lm-eval lists its own tasks, which takes it long, only where one of them is asked for."""
    served: Any = SimpleNamespace()
    path = written(tmp_path)
    monkeypatch.setattr(harness.templates, "sandboxed", lambda files: nullcontext(asked.append({"files": [*files]})))
    harness.evaluate(served, [path], shots=3)
    harness.evaluate(served, ["free", path])
    listed, within, call, listed_too, within_too, call_too = asked
    assert [listed, listed_too] == [{"include_defaults": False}, {"include_defaults": True}]
    assert within == within_too == {"files": [path]}
    assert (call["tasks"][0]["task"], call["tasks"][0]["num_fewshot"], call_too["tasks"][0]) == ("own", 3, "free")

    def fail(**words: Any) -> None:
        raise KeyError("t")

    monkeypatch.setattr(sys.modules["lm_eval"], "simple_evaluate", fail)
    with pytest.raises(UserError, match=r"own\.yaml: test_split: its data have no split 't'"):
        harness.evaluate(served, [path])


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(UserError, match=r"lm-eval is not installed. pip install 'splitjax\[eval\]'"):
        harness.evaluate(None, ["words"])  # type: ignore[arg-type]


def test_nothing_is_fetched_unless_the_user_says_so(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    harness.evaluate(None, ["words"])  # type: ignore[arg-type]
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    harness.evaluate(None, ["words"])  # type: ignore[arg-type]
    assert os.environ["HF_HUB_OFFLINE"] == "0"


def written(folder: Path, **changed: Any) -> str:
    told = {"task": "own", "dataset_path": "json", "dataset_kwargs": {"data_files": "gone.jsonl"}, "test_split": "t",
            "doc_to_text": "q", "doc_to_target": "a", "metric_list": [{"metric": "acc"}]}
    (folder / "own.yaml").write_text(yaml.safe_dump(told | changed))
    return str(folder / "own.yaml")


@pytest.mark.parametrize(("own", "shots", "told", "split"), [
    (None, None, None, None), (3, None, 3, "t"), (3, 0, 0, None), (3, 2, 2, "t"), (None, 2, 2, "t"), (0, None, 0, None),
])
def test_shots_that_are_asked_for_go_before_the_files(
    asked: list[dict[str, Any]], tmp_path: Path, own: int | None, shots: int | None, told: int | None, split: str | None
) -> None:
    found = harness._task_file(written(tmp_path, num_fewshot=own), shots)
    assert (found.get("num_fewshot"), found.get("fewshot_split")) == (told, split)


def test_a_metric_that_this_lm_eval_lacks_is_refused(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"own\.yaml: this lm-eval has no metric 'f1'"):
        harness._task_file(written(tmp_path, metric_list=[{"metric": "acc"}, {"metric": "f1"}]), None)
    assert harness._task_file(written(tmp_path, metric_list=None), None)["metric_list"] is None


@pytest.mark.parametrize(("told", "split"), [
    ({"test_split": "a", "validation_split": "b", "training_split": "c", "fewshot_split": "d",
      "fewshot_config": {"split": "e"}}, "e"),
    ({"test_split": "a", "validation_split": "b", "training_split": "c", "fewshot_split": "d"}, "d"),
    ({"test_split": "a", "validation_split": "b", "training_split": "c"}, "c"),
    ({"test_split": "a", "validation_split": "b"}, "b"),
    ({"test_split": "a"}, "a"),  # lm-eval keeps a test item out of its own examples
    ({"test_split": "a", "validation_split": "b", "fewshot_split": "a"}, "a"),
    ({"validation_split": "b", "training_split": "c"}, "c"),
    ({"validation_split": "b", "training_split": "b"}, None),
    ({"validation_split": "b"}, None),
])
def test_examples_are_from_what_is_not_asked(told: dict[str, Any], split: str | None) -> None:
    if split is None:
        with pytest.raises(UserError, match="Give a fewshot_split or training_split") as refused:
            harness._give_examples("x.yaml", told)
        assert "x.yaml: the examples of num_fewshot would be from 'b', which is what is asked." in str(refused.value)
    else:
        harness._give_examples("x.yaml", told)
        assert told["fewshot_split"] == split


@pytest.mark.parametrize("key", SPLITS)
def test_a_split_that_the_data_lack_is_named_with_its_setting(key: str) -> None:
    files = {"a.yaml": {"test_split": "test"}, "b.yaml": {"test_split": "test", key: "tst"}}
    for error in (KeyError("tst"), KeyError("'tst' is none of ['train']"), KeyError("tst", "train")):
        refused = harness._lacking_split(error, files)
        assert refused is not None
        assert str(refused) == (f"b.yaml: {key}: its data have no split 'tst'. Splits are the keys of "
                                "dataset_kwargs.data_files; one file alone is 'train'.")
    assert harness._lacking_split(KeyError("other"), files) is None
    assert harness._lacking_split(ValueError("tst"), files) is None


def test_likelihoods_are_asked_of_the_experts_of_their_items(asked: list[dict[str, Any]]) -> None:
    """Whole texts are told by their first argument alone."""
    served: Any = SimpleNamespace(
        encode_pair=lambda *words: words, choose=lambda prompts: [len(prompt) for prompt in prompts],
        likelihoods=lambda pairs, experts: list(zip(pairs, experts, strict=True)), rolling=lambda text: -len(text),
    )
    lm = harness.language_model(served)
    assert lm.loglikelihood([request("ab", doc=1), request("c", doc=2)]) == [(("ab", " x"), 2), (("c", " x"), 1)]
    assert lm.loglikelihood_rolling([SimpleNamespace(args=("text", "y")), SimpleNamespace(args=("a", ""))]) == [-4, -1]


def request(context: str, task: str = "t", doc: int = 0) -> SimpleNamespace:
    return SimpleNamespace(args=(context, " x"), task_name=task, doc_id=doc)


def test_a_router_reads_what_the_contexts_of_an_item_share() -> None:
    """Items of one number in two tasks are two; an empty context is that of its item."""
    asked = [request("a ship that"), request("a ship which"), request("a court", "u"), request("", "u"),
             request("a dose", doc=1), request("", doc=2)]
    assert harness._prompts(asked) == ["a ship", "a ship", "a court", "a court", "a dose", ""]


@pytest.mark.parametrize(("told", "sampling", "limit"), [
    ({}, Sampling(0.0, 0, 1.0), 256),
    ({"do_sample": False, "temperature": 0.7, "top_k": 5, "top_p": 0.5, "max_gen_toks": 9}, Sampling(0.0, 5, 0.5), 9),
    ({"do_sample": True}, Sampling(1.0, 0, 1.0), 256),
    ({"do_sample": True, "temperature": 0.7}, Sampling(0.7, 0, 1.0), 256),
    ({"temperature": 0.7}, Sampling(0.7, 0, 1.0), 256),
    ({"temperature": 0}, Sampling(0.0, 0, 1.0), 256),
])
def test_text_is_drawn_as_lm_eval_says(told: dict[str, Any], sampling: Sampling, limit: int) -> None:
    asked: list[Any] = []

    def write(*words: Any) -> Iterator[str]:
        asked.append(words)
        return iter(["one ", "two ", "three"])

    served: Any = SimpleNamespace(write=write)
    for until, text in ((None, "one two three"), ("tw", "one "), (["three", "ne"], "o")):
        assert harness._written(served, "writer", "context", told | {"until": until}) == text  # type: ignore[arg-type]
    assert harness._written(served, "writer", "context", told) == "one two three"  # type: ignore[arg-type]
    assert asked == [("context", "writer", limit, sampling)] * 4


def test_each_text_is_written_by_its_own_expert_in_the_order_asked(asked: list[dict[str, Any]]) -> None:
    """Experts 2, 0, 2: each is made once, and the answers stand where their questions did."""
    made: list[int] = []

    def writer(expert: int) -> int:
        made.append(expert)
        return expert

    served: Any = SimpleNamespace(
        choose=lambda prompts: [{"sea": 2, "law": 0}[prompt] for prompt in prompts], writer=writer,
        write=lambda context, expert, *rest: iter([f"{context} by {expert}"]),
    )
    requests = [SimpleNamespace(args=(context, {}), task_name="t", doc_id=doc)
                for doc, context in enumerate(["sea", "law", "sea"])]
    assert harness.language_model(served).generate_until(requests) == ["sea by 2", "law by 0", "sea by 2"]
    assert made == [0, 2]
