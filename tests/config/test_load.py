"""YAML + overrides → Config, and every mistake one line that names the key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from splitjax.config import Config, MeshSizes, PerParam, UserError, dump, from_dict, load
from splitjax.config.explain import _settings_in

MINIMAL = """\
name: trial
data:
  sources:
    - type: jsonl
      path: docs.jsonl
train:
  batch_size: 4
budget:
  tokens: 20x
split: 0.5
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    return path


def keys(section: type[BaseModel] = Config, prefix: str = "") -> dict[str, Any]:
    """Every dotted key of the schema and its field; a list of sections is entered at item 0."""
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        found[prefix + name] = field
        if (inner := _settings_in(field.annotation)) and inner is not section:
            index = "0." if "tuple" in str(field.annotation) else ""
            found |= keys(inner, f"{prefix}{name}.{index}")
    return found


def choices(field: Any) -> list[Any]:
    """The literal values that a field takes, if any."""
    inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return [value for each in inner if "Literal" in str(each) for value in getattr(each, "__args__", ())]


values = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 600), st.integers(), st.floats(), st.floats(0, 1), st.text(max_size=5),
    st.sampled_from(["40M", "20x", "2.7B", "auto", "jsonl", "kmeans", "4e-3", [], {}, [1, 2], [0.5], [{}], {"x": 1}]),
)


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    known = keys()
    chosen = draw(st.lists(st.sampled_from(sorted(known)), max_size=4))
    picked = {key: draw(values | st.sampled_from(choices(known[key]) or [None])) for key in chosen}
    return {key: value for key, value in picked.items() if not key.startswith("sweep.")}


def attempt(path: Path, overrides: Sequence[str] = ()) -> Config | None:
    """The config, or None where it is refused in one short line; any other exception is a bug."""
    try:
        return load(path, overrides)
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 700
    return None


@given(changes())
def test_any_change_is_refused_in_one_line_or_round_trips(
    tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    path.write_text(MINIMAL)
    config = attempt(path, [f"{key}={json.dumps(value)}" for key, value in changed.items()])
    if config is None:
        return
    path.write_text(dump(config), encoding="utf-8")
    assert load(path).resolved() == config.resolved()
    assert from_dict(json.loads(json.dumps(config.resolved()))).resolved() == config.resolved()


@given(st.binary(max_size=80) | st.tuples(st.integers(0, len(MINIMAL)), st.binary(max_size=4)))
def test_no_bytes_raise_anything_but_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes | tuple[int, bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.yaml"
    whole = MINIMAL.encode()
    if isinstance(noise, tuple):
        at, patch = noise
        noise = whole[:at] + patch + whole[at + len(patch) :]
    path.write_bytes(noise)
    attempt(path)


@given(st.text(max_size=30), st.text(max_size=20))
def test_no_override_raises_anything_but_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "override.yaml"
    path.write_text(MINIMAL)
    for override in (key, f"{key}={value}", f"data.{key}={value}", f"data.sources.{key}={value}"):
        attempt(path, [override])


def test_the_minimal_config(minimal: Path) -> None:
    config = load(minimal)
    assert config.train.batch_size == 4
    assert config.budget.tokens == PerParam(20)
    assert config.folder == "runs/trial"
    assert config.resolved()["run_dir"] == "runs/trial"


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("train.batch_size=8", lambda c: c.train.batch_size == 8),
        ("train.learning_rate=4e-3", lambda c: c.train.learning_rate == 0.004),
        ("train.learning_rate=1", lambda c: c.train.learning_rate == 1.0),
        ("train.warmup=10k", lambda c: c.train.warmup == 10_000),
        ("data.sources.0.path=a=b.jsonl", lambda c: c.data.sources[0].path == "a=b.jsonl"),
        ("data.sources=[{type: installed_python}]", lambda c: c.data.sources[0].type == "installed_python"),
        ("model={d_model: 64}", lambda c: c.model.d_model == 64),
        ("model.n_kv_heads=", lambda c: c.model.n_kv_heads is None),
        ("evaluate.compare=[0.1, 1]", lambda c: c.evaluate.compare == (0.1, 1.0)),
        ("split=1", lambda c: c.split == 1.0 and isinstance(c.split, float)),
        ("split=0.25", lambda c: c.split == 0.25),
        ("split='0.25'", lambda c: c.split == 0.25),
        ("split=2M", lambda c: c.split == 2_000_000 and isinstance(c.split, int)),
        ("train.mesh={expert: 2, fsdp: 4}", lambda c: c.train.mesh == MeshSizes(expert=2, fsdp=4)),
        ("train.mesh.tensor=2", lambda c: c.train.mesh == MeshSizes(tensor=2)),
        ("run_dir=elsewhere", lambda c: c.folder == "elsewhere"),
    ],
)
def test_an_override_sets_its_key(minimal: Path, override: str, read: Any) -> None:
    assert read(load(minimal, [override]))


def test_the_last_override_wins(minimal: Path) -> None:
    assert load(minimal, ["train.batch_size=8", "train.batch_size=2"]).train.batch_size == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batch_size='16'", r"^override train\.batch_size='16': should be a whole number, not '16'$"),
        ("train.batch_size=true", r"should be a whole number, not True$"),
        ("train.batch_size=1.5", r"should be a whole number, not 1\.5$"),
        ("train.batch_size=0", r"should be greater than or equal to 1, not 0$"),
        ("train.learning_rate=.nan", r"should be a finite number, not nan$"),
        ("train.clip=.inf", r"should be a finite number, not inf$"),
        ("train.clip='1.0'", r"should be a number, not '1\.0'$"),
        ("model.qk_norm=yes", r"should be a boolean, not 'yes'$"),
        ("name=3", r"should be a string, not 3$"),
        ("budget.tokens=20y", r"'20y' is not a count such as 40M, 2\.7B or 20x$"),
        ("train.warmup=20x", r"20x is relative to a model; give an absolute count here$"),
        ("split=1.5", r"1\.5 is neither a fraction from 0 to 1 nor tokens with a unit such as 2M$"),
        ("data.domains.method=labels", r"should be 'label', 'kmeans' or 'balanced', not 'labels'$"),
        ("data.sources=[]", r"should have at least 1 item, not \[\]$"),
        ("train.bach_size=3", r"unknown key 'train\.bach_size'\. Did you mean 'batch_size'\?$"),
        ("data.sources.0.pth=3", r"unknown key 'data\.sources\.0\.pth'\. Did you mean 'path'\?$"),
        ("trin.x=3", r"^override trin\.x=3: unknown key 'trin'\. Did you mean 'train'\?$"),
        ("model.n_heads=3", r"^override model\.n_heads=3: n_heads=3 does not divide d_model=128; give head_dim$"),
        ("budget={}", r"key 'budget\.tokens' is missing\. It is: T: training tokens"),
        ("train=3", r"^override train=3: should be a section \(a mapping of keys\), not 3$"),
        ("train.mesh={exprt: 2}", r"^override train\.mesh=.*: unknown axis 'exprt'\. Did you mean 'expert'\?$"),
        ("train.mesh={expert: 0}", r"expert is 0, not a whole number of devices from 1$"),
        ("train.mesh.fsdp=two", r"fsdp is 'two', not a whole number of devices from 1$"),
        ("train.batch_size.x=3", r"'train\.batch_size' is a value, not a section$"),
        ("data.sources.1.path=x", r"'1' is not an index below 1$"),
        ("sweep.models.0=1", r"^override sweep\.models\.0: there is no list yet\. Give it whole: models=\[\.\.\.\]\.$"),
        ("batch_size", r"override 'batch_size' is not dotted\.key=value\. For example train\.batch_size=8\.$"),
        ("name=[", r"^override name: not valid YAML"),
    ],
)
def test_a_bad_override_is_told_in_one_line(minimal: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(minimal, [override])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("batch_size: 4", "batch_size: four", r"run\.yaml:7: train\.batch_size: should be a whole number, not 'four'$"),
        ("batch_size: 4", "bach_size: 4", r"run\.yaml:7: unknown key 'train\.bach_size'"),
        ("path: docs.jsonl", "text_field: x", r"run\.yaml:4: data\.sources\.0: a jsonl source needs 'path'$"),
        ("  tokens: 20x", "  accounting: total", r"run\.yaml:8: key 'budget\.tokens' is missing"),
        ("split: 0.5\n", "", r"run\.yaml: give a 'sweep' for the law to pick the split, or an explicit 'split'$"),
        ("name: trial", "name: [a, b]", r"run\.yaml:1: name: should be a string, not \['a', 'b'\]$"),
    ],
)
def test_a_mistake_in_the_file_names_its_line(minimal: Path, before: str, after: str, message: str) -> None:
    assert before in MINIMAL
    minimal.write_text(MINIMAL.replace(before, after))
    with pytest.raises(UserError, match=message):
        load(minimal)


def test_a_sweep_needs_runs_that_end_in_a_decay(minimal: Path) -> None:
    minimal.write_text(MINIMAL + "sweep: {models: 2M, d_pretrain: 1M, d_special: 1M}\n")
    assert load(minimal, ["train.schedule=cosine"]).train.decay_share == 1.0
    with pytest.raises(UserError, match=r"train\.schedule: a sweep needs wsd or cosine"):
        load(minimal, ["train.schedule=constant"])


def test_several_mistakes_are_counted() -> None:
    with pytest.raises(UserError, match=r"And 2 more\.$"):
        from_dict({"name": 1, "seed": "x", "split": 0.5, "budget": {"tokens": 1}})


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"- a\n", b"", b"text"])
def test_what_is_no_config_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"run\.yaml"):
        load(path)


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        load(f"{tmp_path}/{name}")
