"""Comparisons over columns are parsed, never executed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.law.tables.expression import rows_where

from .synthetic import table

LAW, LOW, SPECIAL = "domain == 'law'", "loss < 3", "d_special > 0"
TABLE = table("effective_data", domains={"law": {}, "code": {"E": 2.0}})


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("d_pretrain > 64000", TABLE.d_pretrain > 64000),
        ("d_pretrain>=2e6", TABLE.d_pretrain >= 2e6),
        ("n_params == 1_000_000", TABLE.n_params == 1e6),
        ("not d_special == 0", TABLE.d_special != 0),
        ("not not d_special == 0", TABLE.d_special == 0),
        ("~ not ~d_special == 0", TABLE.d_special != 0),
        ("domain == 'law' and loss < 3", (TABLE.domain == "law") & (TABLE.loss < 3)),
        (f"{LAW} | {LOW} & {SPECIAL}", (TABLE.domain == "law") | ((TABLE.loss < 3) & (TABLE.d_special > 0))),
        (f"({LAW} or {LOW}) and ~({SPECIAL})", ((TABLE.domain == "law") | (TABLE.loss < 3)) & (TABLE.d_special == 0)),
        ('domain != "law"', TABLE.domain != "law"),
        ("domain == code", TABLE.domain == "code"),
        ("loss > -1", np.ones(len(TABLE), bool)),
    ],
)
def test_it_means_what_it_says(text: str, mask: np.ndarray) -> None:
    assert (rows_where(text, TABLE) == mask).all()


@pytest.mark.parametrize(
    "text",
    [
        "", "loss", "loss >", "loss > x", "3 < loss", "loss > 3 or", "(loss > 3", "loss > 3)", "loss > 3 loss < 4",
        "__import__('os')", "loss.sum() > 1", "loss = 3", "los > 3", "domain == -3", "weight; loss > 1",
        "u_special > 0",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="holdout"):
        rows_where(text, TABLE)


@given(st.text(max_size=40))
def test_no_text_does_anything_but_select_or_refuse(text: str) -> None:
    try:
        mask = rows_where(text, TABLE)
    except UserError:
        return
    assert mask.dtype == bool
    assert mask.shape == (len(TABLE),)
