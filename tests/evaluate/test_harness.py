"""lm-eval in this process: a local task, what the router reads, and what is refused. Needs the extra `eval`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from splitjax import cli
from splitjax.config import UserError
from splitjax.evaluate import Scorer, Served, harness, routers, tasks
from splitjax.evaluate.generate import Sampling
from splitjax.serving import loaded_models, task_scores

from .conftest import WORDS, texts_of

pytest.importorskip("lm_eval", reason="the extra 'eval' is not installed")


@pytest.fixture(scope="module")
def routed(model, experts_K, tokenizer, clusterer) -> Served:
    router = routers.make("centroid", (1, 1, 1), lambda: clusterer)
    return Served(tokenizer, Scorer(model, experts_K, window=64), router, tuple(WORDS))


def local_task(folder: Path, name: str, items: list[dict]) -> Path:
    """Our items as a task of lm-eval's, and its YAML."""
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in items))
    told = {
        "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "query", "doc_to_choice": "choices",
        "doc_to_target": "gold", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(told))
    return folder / f"{name}.yaml"


def items(count: int = 9) -> list[dict]:
    made = []
    for index in range(count):
        domain = list(WORDS)[index % 3]
        query, *choices = texts_of(domain, 4, seed=index)
        made.append({"query": query, "choices": [one[: 8 + index] for one in choices], "gold": index % 3})
    return made


def test_a_local_task_gives_what_our_own_code_gives(routed, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    path = local_task(tmp_path, "words", items())
    told = harness.evaluate(routed, [str(path)])["words"]
    found = tasks.answer(tasks.read(tmp_path / "words.jsonl"), routed)
    own = found.to_json(tuple(WORDS))
    assert told["acc"] == own["accuracy"]
    assert told["acc_norm"] == own["accuracy_by_byte"]
    assert told["acc_stderr"] == pytest.approx(own["accuracy_error"])
    assert found.expert_N.tolist() == [0, 1, 2] * 3
    assert harness.evaluate(routed, [str(path)], limit=4)["words"]["acc"] == found.right_N[:4].mean()


def request(context: str, continuation: str = " x", doc: int = 0) -> SimpleNamespace:
    return SimpleNamespace(args=(context, continuation), task_name="t", doc_id=doc)


def test_the_router_reads_no_option(routed) -> None:
    lm = harness.language_model(routed)
    question = texts_of("sea", 1)[0]
    as_contexts = [request(f"{question} {WORDS['lab'][index]}") for index in range(2)]
    assert harness._prompts(as_contexts) == [question] * 2
    # An answer without its question goes to the expert of the question, or its likelihood would be another's.
    assert harness._prompts([request(question), request("")]) == [question] * 2
    found = lm.loglikelihood([*as_contexts, request(question, " " + " ".join(WORDS["law"]), doc=1)])
    pairs = [routed.encode_pair(*one.args) for one in as_contexts]
    expected = [nats for nats, _ in routed.likelihoods(pairs, [0, 0])]
    assert [nats for nats, _ in found[:2]] == pytest.approx(expected, rel=1e-5)


def test_whole_texts(routed) -> None:
    lm = harness.language_model(routed)
    text = texts_of("law", 1)[0]
    assert lm.loglikelihood_rolling([SimpleNamespace(args=(text,))]) == [routed.rolling(text)]


def asked(context: str, doc: int = 0, **told: object) -> SimpleNamespace:
    return SimpleNamespace(args=(context, told), task_name="t", doc_id=doc)


def test_text_is_written_by_the_routed_expert_up_to_a_stop(routed) -> None:
    lm = harness.language_model(routed)
    contexts = [texts_of(domain, 1)[0][:30] for domain in WORDS]
    whole = lm.generate_until([asked(one, doc, until=[], max_gen_toks=12) for doc, one in enumerate(contexts)])
    assert whole == ["".join(routed.write(one, routed.writer(k), 12, Sampling())) for k, one in enumerate(contexts)]
    assert len(set(whole)) == 3
    stop = whole[0][4:6]
    cut = whole[0][: whole[0].find(stop)]
    assert lm.generate_until([asked(contexts[0], until=[stop, "not there"], max_gen_toks=12)]) == [cut]
    assert lm.generate_until([asked(contexts[0], until=stop, max_gen_toks=12)]) == [cut]  # one string for a list of one
    short = lm.generate_until([asked(contexts[0], until=[], max_gen_toks=5)])
    assert whole[0].startswith(short[0])
    assert len(short[0]) < len(whole[0])


def test_sampling_is_as_the_task_says(routed) -> None:
    lm = harness.language_model(routed)
    context = texts_of("sea", 1)[0]

    def written(**told: object) -> str:
        return lm.generate_until([asked(context, until=[], max_gen_toks=12, **told)])[0]

    greedy = written()
    assert written(do_sample=False, temperature=5.0) == greedy
    assert written(do_sample=True, temperature=5.0, top_k=1) == greedy
    hot = "".join(routed.write(context, routed.writer(0), 12, Sampling(5.0)))
    assert written(do_sample=True, temperature=5.0) == hot != greedy


def test_what_is_not_here_is_refused(routed, tmp_path) -> None:
    with pytest.raises(UserError, match="Did you mean 'hellaswag'"):
        harness.evaluate(routed, ["helaswag"])
    with pytest.raises(UserError, match="no task can be read"):
        harness.evaluate(routed, [str(tmp_path / "none.yaml")])
    (tmp_path / "code.yaml").write_text("task: x\ndoc_to_text: !function os.system\n")
    with pytest.raises(UserError, match="no task can be read"):
        harness.evaluate(routed, [str(tmp_path / "code.yaml")])
    path = local_task(tmp_path, "gone", items(3))
    (tmp_path / "gone.jsonl").unlink()
    with pytest.raises(UserError, match="lm-eval could not run it"):
        harness.evaluate(routed, [str(path)])


REACHES_OUT = "{{ cycler.__init__.__globals__.os.popen('touch MARK').read() }}"


@pytest.mark.parametrize("key", ["doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix"])
def test_no_template_of_a_file_reaches_python(routed, tmp_path, monkeypatch, key) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    path = local_task(tmp_path, "out", items(3))
    told = yaml.safe_load(path.read_text()) | {key: REACHES_OUT.replace("MARK", str(tmp_path / "mark"))}
    path.write_text(yaml.safe_dump(told))
    with pytest.raises(UserError, match=r"cannot be rendered \(SecurityError"):
        harness.evaluate(routed, [str(path)])
    assert not (tmp_path / "mark").exists()


def test_a_template_of_fields_gives_what_the_field_gives(routed, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    path = local_task(tmp_path, "same", items(6))
    by_field = harness.evaluate(routed, [str(path)])
    told = yaml.safe_load(path.read_text()) | {"doc_to_text": "{{query}}", "doc_to_choice": "{{choices}}",
                                               "doc_to_target": "{{gold}}"}
    path.write_text(yaml.safe_dump(told))
    assert harness.evaluate(routed, [str(path)]) == by_field
    from lm_eval import utils

    assert utils.apply_template("{{a}}", {"a": 1}) == "1", "lm-eval has its own back"


def pooled(folder: Path, **changed: object) -> Path:
    """A task with examples of its own to draw from."""
    path = local_task(folder, "few", items(6))
    pool = folder / "pool.jsonl"
    pool.write_text("".join(json.dumps(item | {"query": f"P{index}"}) + "\n" for index, item in enumerate(items(8))))
    told = yaml.safe_load(path.read_text())
    told["dataset_kwargs"]["data_files"] |= {"train": str(pool)}
    path.write_text(yaml.safe_dump(told | {"training_split": "train"} | changed))
    return path


@pytest.mark.parametrize(("own", "asked", "shots"), [
    (None, None, 0), (2, None, 2), (2, 0, 0), (0, 3, 3), (None, 1, 1),
])
def test_examples_are_as_many_as_the_file_says_or_the_command(
    routed, tmp_path, monkeypatch, own: int | None, asked: int | None, shots: int
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    path = pooled(tmp_path, **({} if own is None else {"num_fewshot": own}))
    found = harness.evaluate(routed, [str(path)], samples=True, shots=asked)
    contexts = [sample["arguments"][0][0] for sample in found["samples"]["few"]]
    assert {sum(f"P{index}" in context for index in range(8)) for context in contexts} == {shots}
    assert harness.evaluate(routed, [str(path)], shots=asked)["few"]["num_fewshot"] == shots


def test_an_item_is_none_of_its_own_examples(routed, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    path = local_task(tmp_path, "few", items(4))
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"num_fewshot": 3}))
    found = harness.evaluate(routed, [str(path)], samples=True)
    for sample in found["samples"]["few"]:
        assert sample["arguments"][0][0].count(sample["doc"]["query"]) == 1


def test_an_include_is_read(routed, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    path = local_task(tmp_path, "words", items())
    alone = harness.evaluate(routed, [str(path)])
    told = yaml.safe_load(path.read_text())
    (tmp_path / "_base").write_text(yaml.safe_dump(told | {"task": "other", "doc_to_text": "gone"}))
    path.write_text(yaml.safe_dump({"include": "_base", "task": "words", "doc_to_text": "query"}))
    assert harness.evaluate(routed, [str(path)]) == alone


@pytest.mark.parametrize(("changed", "message"), [
    ({"test_split": "tst"}, "bad.yaml: test_split: its data have no split 'tst'"),
    ({"fewshot_split": "trian", "num_fewshot": 1}, "bad.yaml: fewshot_split: its data have no split 'trian'"),
    ({"validation_split": "test", "test_split": None, "num_fewshot": 1}, "which is what is asked"),
    ({"num_fewshot": 50}, "lm-eval could not run it"),
    ({"doc_to_text": "qeury"}, "its data have no field 'qeury'. Did you mean 'query'?"),
    ({"doc_to_target": "god"}, "its data have no field 'god'. Did you mean 'gold'?"),
    ({"doc_to_choice": "choice"}, "its data have no field 'choice'. Did you mean 'choices'?"),
    ({"doc_to_choice": None}, "has no 'doc_to_choice', which a task needs"),
    ({"include": "../up.yaml"}, "which lies outside its task's folder"),
    ({"doc_to_text": REACHES_OUT}, "cannot be rendered (SecurityError"),
    ({"doc_to_text": "{% for k in range(10**9) %}{% endfor %}"}, "cannot be rendered"),
    ({"doc_to_choice": "{{query}}"}, "lm-eval could not run it"),  # no list comes of it
    ({"doc_to_target": "{{nothing}}"}, "cannot be rendered (UndefinedError"),
    ({"process_results": "run"}, "'process_results' could run code"),
    ({"metric_list": [{"metric": "./score"}]}, "'./score' is not one of"),
])
def test_the_command_refuses_in_one_line_with_code_2(
    routed, tmp_path, monkeypatch, capsys, changed, message
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(loaded_models, "of_folder", lambda folder: folder)
    monkeypatch.setattr(task_scores, "served", lambda models: routed)
    path = local_task(tmp_path, "bad", items(3))
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changed))
    (tmp_path / "export.json").write_text("{}")
    assert cli.main(["evaluate", str(tmp_path), "--tasks", str(path)]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("splitjax: ")]
    assert len(told) == 1
    assert message in told[0]


def test_torch_is_not_needed(tmp_path) -> None:
    script = "import sys; from splitjax.evaluate import harness; harness._class()"
    script += "; import lm_eval.tasks, lm_eval.evaluator; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_file_of_items_too_deep_to_read_is_refused_in_one_line(routed, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    path = local_task(tmp_path, "deep", items(3))
    deep = "[" * 100_000 + "]" * 100_000
    (tmp_path / "deep.jsonl").write_text(f'{{"query": "q", "choices": ["a", "b"], "gold": 0, "x": {deep}}}\n')
    with pytest.raises(UserError, match=r"deep\.jsonl:1: a value nested more than 100 deep$"):
        harness.evaluate(routed, [str(path)])
