"""Task files of lm-eval's form: what passes the schema, and templates that reach for more than their fields.

None of it needs lm-eval; what lm-eval makes of such files is in test_harness.py.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from splitjax.config import UserError
from splitjax.evaluate import task_data, task_files, templates

TASK = {
    "task": "words", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "items.jsonl"}},
    "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "Q: {{query}}\nA:",
    "doc_to_choice": "choices", "doc_to_target": "gold", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}


def written(folder: Path, **changed: object) -> Path:
    (folder / "task.yaml").write_text(yaml.safe_dump(TASK | changed))
    return folder / "task.yaml"


@pytest.mark.parametrize("changed", [
    {},
    {"output_type": "generate_until", "generation_kwargs": {"until": ["\n"], "max_gen_toks": 20, "do_sample": False},
     "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}],
     "filter_list": [{"name": "found", "filter": [{"function": "regex", "regex_pattern": "(\\d+)"},
                                                  {"function": "take_first"}]}]},
    {"dataset_path": "csv", "dataset_kwargs": {"data_files": ["a.csv", "b.csv"], "delimiter": ";"}},
    {"doc_to_choice": ["yes", "no"], "doc_to_target": 1, "metadata": {"version": 1.0}, "description": "Say which."},
    {"num_fewshot": 0, "fewshot_config": {"sampler": "first_n"}, "repeats": 3, "dataset_name": None},
])
def test_what_a_task_needs_passes_as_it_stands(tmp_path: Path, changed: dict) -> None:
    assert task_files.read(written(tmp_path, **changed)) == TASK | changed


@pytest.mark.parametrize(("changed", "message"), [
    *(({key: "utils.run"}, f"'{key}' could run code") for key in sorted(task_files._CODE)),
    ({"metric_list": [{"metric": "./score"}]}, "metric_list: './score' is not one of acc,"),
    ({"metric_list": [{"metric": "acc", "hf_evaluate": True}]}, "metric_list: a metric of another library"),
    ({"metric_list": [{"metric": "acc", "aggregation": "os.system"}]}, "'os.system' is not one of"),
    ({"metric_list": {"metric": "acc"}}, "is no list"),
    ({"filter_list": [{"name": "x", "filter": [{"function": "custom", "filter_fn": "os.system"}]}]}, "'custom' is not"),
    ({"filter_list": [{"name": "x", "filter": [{"function": "os:system"}]}]}, "'os:system' is not one of"),
    ({"fewshot_config": {"sampler": "x", "samples": "utils.samples"}}, "'x' is not one of default, first_n"),
    ({"fewshot_config": {"process_docs": "utils.docs"}}, "'process_docs' is not one of sampler, split"),
    ({"dataset_path": "pandas"}, "dataset_path: 'pandas' is neither one of csv, json, parquet, text nor owner/name"),
    ({"dataset_path": "webdataset"}, "'webdataset' is neither"),
    ({"dataset_path": "./data"}, "'./data' is neither"),
    ({"dataset_path": "/data/set"}, "'/data/set' is neither"),
    ({"dataset_path": "../../set"}, "is neither"),
    ({"dataset_kwargs": {"trust_remote_code": True}}, "dataset_kwargs: 'trust_remote_code' is not one of"),
    ({"dataset_kwargs": {"data_files": {"test": "https://host/items.jsonl"}}}, "is not the path of a local file"),
    ({"dataset_kwargs": {"data_files": ["simplecache::/items.jsonl"]}}, "is not the path of a local file"),
    ({"task": ["piqa"]}, "names no 'task'"),
    ({"task": "../../up"}, "task: '../../up' is no name"),
    ({"doc_to_text": {"a": 1}}, "is no text"),
    ({"doc_to_choice": [1, 2]}, "doc_to_choice: 1 is no text"),
    ({"repeats": 10**9}, "repeats: 1000000000 is no whole number from 1 to 1000"),
    ({"generation_kwargs": {"until": ["\n"], "trust_remote_code": True}}, "'trust_remote_code' is not one of"),
    ({"output_type": "exec"}, "'exec' is not one of generate_until,"),
    ({"doc_to_txt": "query"}, "'doc_to_txt' is no setting of a task's file. Did you mean 'doc_to_text'?"),
])
def test_what_could_run_code_is_refused_by_name(tmp_path: Path, changed: dict, message: str) -> None:
    path = written(tmp_path, **changed)
    with pytest.raises(UserError) as refused:
        task_files.read(path)
    assert message in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


BASE = {key: value for key, value in TASK.items() if key not in ("task", "doc_to_text")}


def base(path: Path, **changed: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(BASE | changed))


def test_what_is_included_lies_below_what_the_file_says_itself(tmp_path: Path) -> None:
    base(tmp_path / "parts" / "_base_yaml", num_fewshot=3, target_delimiter="x", include="more.yaml")
    (tmp_path / "parts" / "more.yaml").write_text("target_delimiter: y\nfewshot_delimiter: z\ndescription: d\n")
    (tmp_path / "last.yaml").write_text("description: e\n")
    told = {"task": "words", "doc_to_text": "query", "num_fewshot": 1, "include": ["parts/_base_yaml", "last.yaml"]}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(told))
    found = task_files.read(tmp_path / "task.yaml")
    assert found == BASE | {"task": "words", "doc_to_text": "query", "num_fewshot": 1, "target_delimiter": "x",
                            "fewshot_delimiter": "z", "description": "e"}
    lm_eval = pytest.importorskip("lm_eval.tasks._yaml_loader", reason="the extra 'eval' is not installed")
    assert lm_eval.load_yaml(tmp_path / "task.yaml") == found


@pytest.mark.parametrize(("named", "message"), [
    ("gone.yaml", "gone.yaml: no task can be read (no such file)"),
    ("../outside.yaml", "includes '../outside.yaml', which lies outside its task's folder"),
    ("inside/../../outside.yaml", "which lies outside its task's folder"),
    ("/etc/passwd", "includes '/etc/passwd', which lies outside its task's folder"),
    ("link.yaml", "includes 'link.yaml', which lies outside its task's folder"),
    ("task.yaml", "includes 'task.yaml', which includes it"),
    ("first.yaml", "second.yaml: includes 'first.yaml', which includes it"),
    ("deep0.yaml", "task.yaml: includes files more than 8 deep, or more than 32"),
    (["flat.yaml"] * 40, "task.yaml: includes files more than 8 deep, or more than 32"),
    ("code.yaml", "code.yaml: 'process_docs' could run code"),
    ("function.yaml", "function.yaml: no task can be read"),
    ("wrong.yaml", "wrong.yaml: num_fewshot: 'many' is no whole number"),
    ("pipe", "not a regular file"),
    ({"a": "b"}, "task.yaml: include: {'a': 'b'} is no text"),
])
def test_an_include_that_reaches_out_or_turns_in_a_circle_is_refused(
    tmp_path: Path, named: object, message: str
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    base(folder / "inside" / "x.yaml")
    for name, text in {
        "../outside.yaml": "{}", "first.yaml": "include: second.yaml", "second.yaml": "include: first.yaml",
        "code.yaml": "process_docs: utils.run", "function.yaml": "doc_to_text: !function utils.run",
        "wrong.yaml": "num_fewshot: many", "flat.yaml": "description: d",
    }.items():
        (folder / name).write_text(text)
    for depth in range(20):
        (folder / f"deep{depth}.yaml").write_text(f"include: deep{depth + 1}.yaml")
    (folder / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    os.mkfifo(folder / "pipe")
    path = written(folder, include=named)
    with pytest.raises(UserError) as refused:
        task_files.read(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("without", "message"), [
    ("dataset_path", "has no 'dataset_path', which a task needs"), ("doc_to_text", "has no 'doc_to_text'"),
    ("doc_to_target", "has no 'doc_to_target'"), ("doc_to_choice", "has no 'doc_to_choice'"),
    ("test_split", "has neither 'test_split' nor 'validation_split'"), ("task", "names no 'task'"),
])
def test_a_setting_that_is_missing_is_named(tmp_path: Path, without: str, message: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in TASK.items() if key != without}))
    with pytest.raises(UserError, match=message):
        task_files.read(path)


@pytest.mark.parametrize("text", [
    "task: x\ndoc_to_text: !function os.system\n",
    "task: !!python/object/apply:os.system [true]\n",
    "task: x\nmetadata: [&a [1, 1], *a]\n",  # nine lines of it stand for ten thousand million
    "task: " + "[" * 5000,
    "task: 'x",
    "- task",
    "task: " + "x" * 1_000_001,
])
def test_what_is_no_plain_yaml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(UserError, match=r"task\.yaml"):
        task_files.read(tmp_path / "task.yaml")


def test_a_folder_of_the_hubs_name_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "set").mkdir(parents=True)
    with pytest.raises(UserError, match="'owner/set' is neither"):
        task_files.read(written(tmp_path, dataset_path="owner/set"))


def test_a_set_of_the_hubs_needs_datasets_that_run_no_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, dataset_path="owner/set", dataset_kwargs=None)
    monkeypatch.setattr(task_files.metadata, "version", lambda name: "4.0.0")
    assert task_files.read(path)["dataset_path"] == "owner/set"
    monkeypatch.setattr(task_files.metadata, "version", lambda name: "3.6.0")
    with pytest.raises(UserError, match="could bring a script"):
        task_files.read(path)


@pytest.fixture
def renderer() -> Iterator[templates.Renderer]:
    made = templates.Renderer("task.yaml", seconds=3)
    yield made
    made.close()


@pytest.mark.parametrize(("template", "text"), [
    ("Q: {{query}}\nA:\n", "Q: where?\nA:\n"),
    ("{{query.strip('?')|upper}}", "WHERE"),
    ("{% for one in choices %}{{loop.index}}. {{one}}{% if not loop.last %}, {% endif %}{% endfor %}", "1. here, 2. ß"),
    ("{{choices.index('ß')}} {{gold + 1}} {{choices[gold]}}", "1 1 here"),
    ("{{query|regex_replace('[aeiou]', '')}}", "whr?"),
    ("{% set n = namespace(x=0) %}{% for k in range(4) %}{% set n.x = n.x + k %}{% endfor %}{{n.x}}", "6"),
    ("{{choices}}", "['here', 'ß']"),
])
def test_templates_give_what_jinja_gives(renderer: templates.Renderer, template: str, text: str) -> None:
    import jinja2

    doc = {"query": "where?", "choices": ["here", "ß"], "gold": 0}
    assert renderer(template, doc) == text
    if "regex_replace" not in template:
        assert jinja2.Environment(keep_trailing_newline=True).from_string(template).render(doc) == text


@pytest.mark.parametrize("template", [
    "{{ cycler.__init__.__globals__.os.popen('touch MARK').read() }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ self._TemplateReference__context.eval_ctx }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(query) }}",
    "{{ query|attr('__class__') }}",
    "{% set f = range.__self__ %}{{ f }}",
    "{{ choices.append('x') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ nothing }}",
    "{{ query",
])
def test_a_template_that_reaches_out_is_refused_in_one_line(
    renderer: templates.Renderer, tmp_path: Path, template: str
) -> None:
    with pytest.raises(UserError) as refused:
        renderer(template.replace("MARK", str(tmp_path / "mark")), {"query": "q", "choices": ["a"]})
    assert "task.yaml: the template '" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("template", [
    "{% for k in range(10**9) %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{{ 10**(10**10) }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '{:10000000000}'.format(1) }}",
    "{{ 'a' | center(10**10) }}",
    "{% set a = 'a' * 1000000 %}{{ a ~ a }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ query|regex_replace('(a+)+$', '') }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
])
def test_a_template_without_end_or_measure_ends(renderer: templates.Renderer, template: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="cannot be rendered"):
        renderer(template, {"query": "a" * 40 + "b"})
    assert time.monotonic() - began < 30
    assert renderer._child.returncode is not None, "nothing goes on behind our back"


def test_a_child_that_nobody_waits_for_ends_by_itself() -> None:
    made = templates.Renderer("task.yaml", seconds=1)
    child = made._child
    child.stdin.write(b'{"template": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", '
                      b'"doc": {}}\n')
    child.stdin.close()
    assert child.wait(timeout=60) < 0


def test_a_name_that_is_no_field_is_not_taken_for_a_text() -> None:
    made = templates.Renderer("task.yaml", fields=frozenset({"queri", "Say:", "{{'queri'}}"}))
    try:
        with pytest.raises(UserError) as refused:
            made("queri", {"query": "q", "gold": 0})
        assert str(refused.value) == ("task.yaml: its data have no field 'queri'. Did you mean 'query'? "
                                      "A text is written {{'queri'}}.")
        assert [made("Say:", {}), made("{{'queri'}}", {}), made("other", {})] == ["Say:", "queri", "other"]
    finally:
        made.close()


@pytest.mark.parametrize(("name", "text", "line"), [
    ("a.jsonl", '{"x": ' + "[" * 100 + "]" * 100 + "}\n", 1),
    ("a.jsonl", '{"x": 1}\n\n{"x": ' + '{"y": ' * 100 + "1" + "}" * 101 + "\n", 3),
    ("a.json", "[\n" * 101, 101),  # over many lines
    ("a.json.gz", "[" * 101, 1),
])
def test_items_nested_too_deep_are_refused_by_line(tmp_path: Path, name: str, text: str, line: int) -> None:
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    with pytest.raises(UserError, match=rf"a\.json.*:{line}: a value nested more than 100 deep"):
        task_data.check(TASK | {"dataset_kwargs": {"data_files": {"test": [str(tmp_path / "a.*")]}}})


def test_items_that_are_only_wide_or_whose_texts_hold_brackets_pass(tmp_path: Path) -> None:
    wide = {"x": [[1], {"y": [2]}] * 1000, "text": '[[{"' * 1000, "end": "\\"}
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(wide) + "\n" for _ in range(3)))
    task_data.check(TASK | {"dataset_kwargs": {"data_files": str(tmp_path / "a.jsonl")}})
    task_data.check(TASK | {"dataset_kwargs": {"data_files": str(tmp_path / "gone.jsonl")}})
    task_data.check(TASK | {"dataset_path": "csv"})


def test_a_line_does_not_deepen_the_next_and_what_is_closed_too_often_lends_no_room(tmp_path: Path) -> None:
    """100 deep is as deep as may be; the brackets that close nothing in the first line make no room for more."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"x": 1}]]]\n' + "[" * 100 + "]" * 100 + "\n" + '{"x": ' + "[" * 99 + "]" * 99 + "}\n")
    told = TASK | {"dataset_kwargs": {"data_files": {"test": str(file)}}}
    task_data.check(told)
    file.write_text(file.read_text() + "]\n" + "[" * 101 + "\n")
    with pytest.raises(UserError, match=r"a\.jsonl:5: a value nested more than 100 deep"):
        task_data.check(told)
