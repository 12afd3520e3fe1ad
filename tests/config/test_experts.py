"""`train.experts`: what single experts have of their own."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from splitjax.config import Config, Train, from_dict
from splitjax.config.expert_settings import ExpertSettings

WHOLE = {"code": {"rate": 0.5, "clip": 2}, "*": {"patience": 3, "every": "1M"}}


def test_a_domain_has_its_own_over_everybody_s() -> None:
    experts = Train(experts=WHOLE).experts  # type: ignore[arg-type]
    assert experts.of("code") == ExpertSettings(0.5, 2.0, 3, 1_000_000)
    assert experts.of("law") == ExpertSettings(1.0, None, 3, 1_000_000)
    assert experts.domains == ("code",)
    assert Train.model_validate(Train(experts=WHOLE).model_dump(mode="json")).experts == experts  # type: ignore[arg-type]
    assert hash(Train(experts=WHOLE))  # type: ignore[arg-type]


def test_moments_at_the_split_are_one_choice_for_all() -> None:
    assert Train().experts.moments == "inherit"
    assert Train(experts={"code": {"rate": 0.5}, "*": {"moments": "zero"}}).experts.moments == "zero"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("experts", "message"),
    [
        ({"code": {"rat": 1}}, "unknown key 'code.rat'. Did you mean 'rate'"),
        ({"code": {"rate": 0}}, "'code': a setting is 0, not a positive number"),
        ({"code": {"clip": "1"}}, "'code': a setting is '1', not a positive number"),
        ({"*": {"patience": 1.5, "every": "1M"}}, "not a whole number of evaluations"),
        ({"code": {"every": "1M"}}, "give it under '\\*'"),
        ({"code": {"moments": "zero"}}, "'code.moments': the split is the same for all; give it under '\\*'"),
        ({"*": {"moments": "reset"}}, "is 'reset', neither inherit nor zero"),
        ({"code": {"patience": 2}}, "go together"),
        ({"*": {"every": "1M"}}, "go together"),
        ({"code": 0.5}, "'code' should be a section"),
    ],
)
def test_settings_that_mean_nothing_are_refused(experts: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Train(experts=experts)


def test_a_sweep_has_no_patience() -> None:
    tree: dict[str, Any] = {
        "data": {"sources": [{"type": "installed_python"}]}, "budget": {"tokens": "1M"}, "split": 0.5,
        "train": {"experts": WHOLE},
    }
    assert isinstance(from_dict(tree), Config)
    sweep = {"models": [{"d_model": 64}], "d_pretrain": ["1M"], "d_special": [0]}
    with pytest.raises(Exception, match="an early stop is no end of a decay"):
        from_dict(tree | {"sweep": sweep})
