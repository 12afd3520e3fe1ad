"""The identity of a phase: everything that its numbers depend on, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from splitjax.config import from_dict
from splitjax.runs.phase_record import identities_of

PHASE = {"name": "t.D4", "model": {"d_model": 16}, "seeds": [None, 3], "stop": 10}


def identity(phase: dict[str, Any] | None = None, *, manifest: str = "m", experts: int = 3, seed: str | None = None,
             before: dict[str, Any] | None = None, **config: Any) -> tuple[str, str]:
    tree = {"data": {"sources": [{"type": "installed_python"}]}, "budget": {"tokens": "1M"}, "split": 0.5,
            "train": {"seq_len": 64}, "evaluate": {"prefix": 8, "windows": 16}}
    tree |= {key: tree.get(key, {}) | value if isinstance(value, dict) else value for key, value in config.items()}
    return identities_of(PHASE | (phase or {}), from_dict(tree), before or {"b": 1}, manifest, experts, seed)


@pytest.mark.parametrize("change", [
    {"phase": {"name": "t.D5"}}, {"phase": {"model": {"d_model": 17}}}, {"phase": {"seeds": [None, 4]}},
    {"manifest": "other"}, {"experts": 4}, {"seed": "hash"}, {"config": {"seed": 1}},
    {"config": {"evaluate": {"windows": 17}}}, {"config": {"train": {"batch_size": 2}}},
    {"config": {"train": {"learning_rate": 1e-4}}},
], ids=str)
def test_it_changes_with_what_its_numbers_depend_on(change: dict[str, Any]) -> None:
    words = change.get("config", change)
    now, earlier = identity(**words)
    first = identity()
    assert now != first[0]
    if "train" not in words:
        assert earlier != first[1], "what an earlier splitjax wrote knew of it too"


@pytest.mark.parametrize("change", [
    {"phase": {"stop": 99}}, {"evaluate": {"prefix": 9}}, {"train": {"remat": "full"}}, {"budget": {"tokens": "2M"}},
    {"split": 0.25}, {"phase": {"seeds": [0, 3]}},
], ids=str)
def test_it_stays_where_they_do_not(change: dict[str, Any]) -> None:
    assert identity(**change) == identity()


def test_what_an_earlier_splitjax_wrote_depends_on_the_recipe_that_it_wrote_down() -> None:
    one, other = identity(), identity(before={"b": 2})
    assert one[0] == other[0]
    assert one[1] != other[1]
