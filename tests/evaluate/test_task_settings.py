"""Settings of a task's file at the ends of what they may be: the last value that passes, the first that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from splitjax.config import UserError
from splitjax.evaluate import task_files

from .test_task_files import TASK, written


def asked(**told: Any) -> dict[str, Any]:
    return {"generation_kwargs": told}


@pytest.mark.parametrize("changed", [
    asked(temperature=0), asked(temperature=1.5), asked(top_p=1), asked(top_p=0.25), asked(top_k=0),
    asked(top_k=1_000_000), asked(max_gen_toks=1), asked(max_gen_toks=1_000_000), asked(do_sample=True),
    asked(until="x"), asked(until=[]),
    {"num_fewshot": 0}, {"num_fewshot": 1000}, {"repeats": 1}, {"repeats": 1000},
    {"doc_to_text": 0}, {"doc_to_target": [0, "a"]}, {"doc_to_choice": {"a": "x", "b": "y"}},
    {"task": "a" * 100}, {"task": "a.b_c+d-e"}, {"metadata": {"version": 1.5, "of": ["a", 2, None, {"b": True}]}},
    {"should_decontaminate": True}, {"description": None},
    {"metric_list": [{"metric": "acc", "hf_evaluate": False, "higher_is_better": False, "weights": [1, 2]}]},
    {"filter_list": [{"filter": [{"function": "take_first_k", "k": 3}]}]},
    {"dataset_kwargs": {"data_files": {"test": ["a", "b"], "train": "c"}, "sep": ";"}},
])
def test_what_lies_inside_passes(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert task_files.read(written(tmp_path, **changed)) == TASK | changed


@pytest.mark.parametrize(("changed", "message"), [
    (asked(temperature=True), "generation_kwargs: True is no number"),
    (asked(temperature="warm"), "generation_kwargs: 'warm' is no number"),
    (asked(top_k=-1), "-1 is no whole number from 0 to 1000000"),
    (asked(top_k=1_000_001), "1000001 is no whole number from 0 to 1000000"),
    (asked(top_k=True), "True is no whole number"), (asked(top_k=1.0), "1.0 is no whole number"),
    (asked(max_gen_toks=0), "0 is no whole number from 1 to 1000000"),
    (asked(do_sample=1), "1 is neither true nor false"), (asked(until=[1]), "1 is no text"),
    ({"num_fewshot": 1001}, "num_fewshot: 1001 is no whole number from 0 to 1000"),
    ({"num_fewshot": -1}, "-1 is no whole number from 0 to 1000"),
    ({"repeats": 0}, "repeats: 0 is no whole number from 1 to 1000"),
    ({"doc_to_text": True}, "doc_to_text: True is no text"), ({"doc_to_target": [0, 0.5]}, "0.5 is no text"),
    ({"doc_to_choice": {"a": "x", "b": 3}}, "doc_to_choice: 3 is no text"),
    ({"task": "a" * 101}, "task: 'aaa"), ({"task": "-a"}, "'-a' is no name of letters, digits and . _ + -"),
    ({"metadata": {"a": [{3: "b"}]}}, "metadata: 3 is no text"),
    ({"generation_kwargs": ["until"]}, "generation_kwargs: ['until'] is no mapping"),
    ({"metric_list": [{"aggregation": "mean"}]}, "metric_list: {'aggregation': 'mean'} has no 'metric'"),
    ({"filter_list": [{"name": "x"}]}, "filter_list: {'name': 'x'} has no 'filter'"),
    ({"filter_list": [{"filter": [{"k": 3}]}]}, "filter_list: {'k': 3} has no 'function'"),
    ({"dataset_kwargs": {"data_files": {"test": ["a", "b::c"]}}}, "dataset_kwargs: 'b::c' is not the path"),
    ({"dataset_kwargs": {"data_files": ["a", 3]}}, "dataset_kwargs: 3 is no text"),
    ({"metric_list": [{"metric": "acc", "hf_evaluate": None}]}, "a metric of another library would be a script"),
    ({"num_fewshot": "x" * 58}, f"num_fewshot: '{'x' * 58}' is no whole"),  # 60 characters with its strokes
    ({"num_fewshot": "x" * 59}, f"num_fewshot: '{'x' * 56}… is no whole"),
])
def test_what_lies_outside_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        task_files.read(written(tmp_path, **changed))
    assert message in str(refused.value)


def test_a_file_may_be_of_a_million_bytes(tmp_path: Path) -> None:
    path = written(tmp_path)
    text = path.read_text() + "#"
    path.write_text(text + "x" * (1_000_000 - len(text)))
    assert task_files.read(path) == TASK
    path.write_text(text + "x" * (1_000_001 - len(text)))
    with pytest.raises(UserError, match="more than 1,000,000 bytes for a task"):
        task_files.read(path)


@pytest.mark.parametrize(("deep", "wide", "passes"), [(8, 0, True), (9, 0, False), (0, 31, True), (0, 32, False),
                                                      (8, 23, True), (8, 24, False)])
def test_as_many_files_may_be_included(tmp_path: Path, deep: int, wide: int, passes: bool) -> None:
    """A chain below the task's own file, and beside it files that include nothing: 32 in all, its own counted."""
    for depth in range(1, deep + 1):
        inner = {"include": f"deep{depth + 1}.yaml"} if depth < deep else {"description": "d"}
        (tmp_path / f"deep{depth}.yaml").write_text(yaml.safe_dump(inner))
    (tmp_path / "flat.yaml").write_text("target_delimiter: x\n")
    path = written(tmp_path, include=[*["deep1.yaml"] * (deep > 0), *["flat.yaml"] * wide])
    if passes:
        more = ({"description": "d"} if deep else {}) | ({"target_delimiter": "x"} if wide else {})
        assert task_files.read(path) == TASK | more
    else:
        with pytest.raises(UserError, match=r"task\.yaml: includes files more than 8 deep, or more than 32"):
            task_files.read(path)
