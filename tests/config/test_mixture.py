"""`train.mixture`: what is read, what is refused, what a config without it is."""

from __future__ import annotations

from typing import Any

import pytest

from splitjax.config import Train, UserError, from_dict

TREE: dict[str, Any] = {"data": {"sources": [{"type": "phonebook"}]}, "budget": {"tokens": 1000}, "split": 0.5}


def test_weights_stand_by_domain_whatever_their_order() -> None:
    found = Train(mixture={"prose": 1, "code": 2.5, "law": 0})  # type: ignore[arg-type]
    assert found == Train(mixture={"law": 0.0, "code": 2.5, "prose": 1.0})  # type: ignore[arg-type]
    assert hash(found)
    assert found.mixture is not None
    assert found.mixture.of(("code", "law", "prose")) == (2.5, 0.0, 1.0)
    assert found.recipe()["mixture"] == {"code": 2.5, "law": 0.0, "prose": 1.0}
    assert Train.model_validate(found.model_dump(mode="json")) == found
    assert from_dict(TREE | {"train": {"mixture": {0: 1, 7: 2}}}).train.mixture.of(("0", "7")) == (1.0, 2.0)  # type: ignore[union-attr]


def test_a_recipe_without_one_is_what_it_was_before_there_was_one() -> None:
    assert "mixture" not in Train().recipe()
    assert "mixture" not in from_dict(TREE | {"train": {"mixture": None}}).resolved()["train"]


@pytest.mark.parametrize(("mixture", "said"), [
    ({"code": -1, "prose": 2}, "train.mixture: the weight of 'code' is -1, not a number from 0"),
    ({"code": "much"}, "train.mixture: the weight of 'code' is 'much', not a number from 0"),
    ({"code": True}, "the weight of 'code' is True"),
    ({"code": float("inf")}, "the weight of 'code' is inf"),
    ({"code": float("nan")}, "the weight of 'code' is nan"),
    ({"code": 0, "prose": 0.0}, "train.mixture: no domain has a weight above 0"),
    ({}, "train.mixture: no domain has a weight above 0"),
    ([1, 2], "train.mixture"),
])
def test_what_are_no_weights_is_refused_in_one_line(mixture: Any, said: str) -> None:
    with pytest.raises(UserError) as refused:
        from_dict(TREE | {"train": {"mixture": mixture}})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("domains", "said"), [
    (("code", "prose"), "train.mixture: no domain 'law'."),
    (("code", "law", "prose", "verse"), "train.mixture: gives 'verse' no weight. Name every domain; 0 leaves one out"),
    (("code", "laws", "prose"), "train.mixture: no domain 'law'. Did you mean 'laws'"),
])
def test_domains_that_do_not_fit_are_named(domains: tuple[str, ...], said: str) -> None:
    mixture = Train(mixture={"code": 1, "law": 1, "prose": 1}).mixture  # type: ignore[arg-type]
    assert mixture is not None
    with pytest.raises(UserError) as refused:
        mixture.of(domains)
    assert said in str(refused.value)
