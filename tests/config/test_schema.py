"""The settings themselves: described, frozen, strict, consistent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from splitjax.config import Config, Domains, Model, Source, Sweep, Train
from splitjax.config.explain import _settings_in


def sections(section: type[BaseModel] = Config) -> Iterator[type[BaseModel]]:
    yield section
    for field in section.model_fields.values():
        if (inner := _settings_in(field.annotation)) and inner is not section:  # a sweep holds sweeps
            yield from sections(inner)


def test_there_are_at_most_125_keys() -> None:
    """Keys that hold a value; a section is no key."""
    keys = [
        f"{section.__name__}.{name}"
        for section in set(sections())
        for name, field in section.model_fields.items()
        if "tuple" in str(field.annotation) or not _settings_in(field.annotation)
    ]
    assert len(keys) <= 125


@pytest.mark.parametrize("section", sorted(set(sections()), key=lambda each: each.__name__))
def test_every_key_is_described(section: type[BaseModel]) -> None:
    assert section.__doc__
    bare = [
        name
        for name, field in section.model_fields.items()
        if not field.description and not (_settings_in(field.annotation) or object).__doc__
    ]
    assert not bare


@pytest.mark.parametrize("section", sorted(set(sections()), key=lambda each: each.__name__))
def test_every_section_is_strict_and_frozen(section: type[BaseModel]) -> None:
    wanted = {"extra": "forbid", "frozen": True, "strict": True, "allow_inf_nan": False}
    assert wanted.items() <= section.model_config.items()


def test_values_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Train().batch_size = 8  # type: ignore[misc]


def test_lists_become_tuples_and_so_configs_hash() -> None:
    sweep = Sweep(models=[{"d_model": 64}], d_pretrain=["1M", "20x"], d_special=[0])  # type: ignore[list-item, arg-type]
    assert sweep.models == (Model(d_model=64),)
    assert hash(sweep) == hash(Sweep(models=(Model(d_model=64),), d_pretrain=("1M", "20x"), d_special=(0,)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (Model, {"n_heads": 3}, "n_heads=3 does not divide d_model=128"),
        (Model, {"n_heads": 4, "n_kv_heads": 3}, "n_kv_heads=3 does not divide n_heads=4"),
        (Model, {"head_dim": 9}, "head_dim=9 is odd"),
        (Train, {"batch_size": 6, "microbatches": 4}, "microbatches=4 does not divide batch_size=6"),
        (Train, {"steps_per_dispatch": 0}, "0 is neither auto nor a whole number of steps from 1"),
        (Train, {"steps_per_dispatch": True}, "True is neither auto nor"),
        (Train, {"attention": "cudnn"}, "attention=cudnn needs precision=bfloat16"),
        (Source, {"type": "jsonl"}, "needs 'path'"),
        (Source, {"type": "installed_python", "path": "x"}, "takes no 'path'"),
        (Domains, {"method": "kmeans"}, "needs domains.k"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    section: type[BaseModel], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        section(**values)


def test_shapes_that_follow_from_others() -> None:
    model = Model(d_model=256, n_heads=4)
    assert (model.kv_heads, model.width_of_head, model.width_of_ffn) == (4, 64, 688)
    model = Model(d_model=256, n_heads=4, n_kv_heads=2, head_dim=32, d_ff=512)
    assert (model.kv_heads, model.width_of_head, model.width_of_ffn) == (2, 32, 512)
