"""What lies outside the rows of a law is told, and refused where it is far: N, T, D and D', and the table's own T."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.law import Budget, LawFit, Table, plan
from splitjax.law.splitting import limits

from .synthetic import PRETRAIN, SIZES, SPECIAL, TRUTHS, exact, table

TRUTH = TRUTHS["effective_data"] | {"k": 0.5}
SCARCE = dataclasses.replace(exact("effective_data", TRUTH), table=table("effective_data", truth=TRUTH))
"""Its experts get nearly all of T under per_model: D* = (k·g)^(1/(1-g)) is below 1 token."""


def rows(law: LawFit, points: list[tuple[float, float, float]]) -> LawFit:
    """The law with a table of these (N, D, D')."""
    made = ({"n_params": n, "d_pretrain": d, "d_special": s, "loss": 3 + i / 10} for i, (n, d, s) in enumerate(points))
    return dataclasses.replace(law, table=Table.from_rows(made))


def test_the_table_of_these_tests() -> None:
    assert (max(SIZES), max(PRETRAIN), max(SPECIAL)) == (1e7, 2e8, 1e7)


def test_far_domain_tokens_are_refused_as_n_and_t_are() -> None:
    near = plan(SCARCE, 1e7, 2e8, 8, "per_model")  # D' = T = 20 times the largest D' of the table
    assert near.d_special == pytest.approx(2e8)
    assert "D' lies 20.0 times above the fitted range." in near.notes
    with pytest.raises(UserError, match=r"D' = 400M is 40 times outside the fitted 0 to 10M.*--extrapolate"):
        plan(SCARCE, 1e7, 4e8, 8, "per_model")
    assert plan(SCARCE, 1e7, 4e8, 8, "per_model", extrapolate=True).d_special == pytest.approx(4e8)
    inside = plan(SCARCE, 1e7, 8e7, 8)  # total: each expert gets an eighth
    assert not any(note.startswith("D'") for note in inside.notes)


def test_above_and_below_are_told() -> None:
    told = limits.told(SCARCE.table, {"n_params": 2e7, "d_pretrain": 6e8, "d_special": 1e5, "tokens": 1e6})
    assert told == [
        "N lies 2.0 times above the fitted range.", "D lies 3.0 times above the fitted range.",
        "T lies 2.0 times below the fitted range.",
    ]  # rows without D' make few domain tokens no extrapolation
    without = rows(SCARCE, [(n, d, s) for n in SIZES for d in PRETRAIN for s in SPECIAL if s])
    assert limits.told(without.table, {"d_special": 1e5}) == ["D' lies 4.0 times below the fitted range."]
    limits.refuse_far(without.table, {"d_special": 1e3}, False)  # on the way to a corner, which is an answer


def test_a_corner_without_rows_is_told() -> None:
    some = plan(SCARCE, 1e7, 8e7, 8)
    assert any("No row of the table has D = 0: what is said of split at 0 %" in note for note in some.notes)
    assert not any("D' = 0" in note for note in some.notes)
    whole = rows(SCARCE, [(n, d, s) for n in SIZES for d in (0.0, *PRETRAIN) for s in (1e6, 1e7)])
    told = plan(whole, 1e7, 8e7, 8).notes
    assert any("No row of the table has D' = 0: what is said of dense" in note for note in told)
    assert not any("D = 0:" in note for note in told)


@pytest.mark.parametrize(
    ("accounting", "tokens", "longest"),
    [
        # At T = 1M the table has three splits: (1M, 0), (0.6M, 0.1M · 4), (0, 0.25M · 4); at 2M one.
        ("total", 1.0e6, None), ("total", 1.005e6, None), ("total", 1.5e6, "1.5 times above the table's longest, 1M"),
        # Per model the same rows end at 1M (100 %), 0.7M (86 %), 0.5M (0 %): three splits at 0.5M.
        ("per_model", 0.5e6, None), ("per_model", 0.9e6, "1.8 times above the table's longest, 500k"),
    ],
)
def test_a_table_that_ends_below_the_budget_is_told(accounting: str, tokens: float, longest: str | None) -> None:
    points = [(1e6, 0.0), (0.6e6, 0.1e6), (0.0, 0.25e6), (0.0, 0.5e6)]
    law = rows(SCARCE, [(n, d, s) for n in SIZES for d, s in points])
    budget = Budget(1e7, tokens, 4, accounting)  # type: ignore[arg-type]
    told = [note for note in limits.told_of_budget(law.table, budget, 0.0, 1e5, ()) if note.startswith("T lies")]
    assert len(told) == (longest is not None)
    assert longest is None or (longest in told[0] and "the best split moves with T" in told[0])


def test_other_than_the_laws_number_of_experts_is_told() -> None:
    names = {"a": {}, "b": {}, "c": {}}
    form = dataclasses.replace(SCARCE.families[0].forms[0], domains=("a", "b", "c"))
    x = SCARCE.families[0].xs[0]
    linear, scales = x[:3], [x[form.names.index("k")]]
    shared = [x[form.names.index(name)] for name in form.names[3:] if name != "k"]
    fitted = dataclasses.replace(SCARCE.families[0], forms=(form,), xs=(np.array([*[*linear, *scales] * 3, *shared]),))
    law = dataclasses.replace(SCARCE, families=(fitted,), table=table("effective_data", domains=names, truth=TRUTH))
    told = plan(law, 1e7, 8e7, 8).notes
    assert any(note.startswith("The law has 3 domains, the plan 8 experts") for note in told)
    assert not any("experts" in note for note in plan(law, 1e7, 8e7, 3).notes)
    one = dataclasses.replace(law, table=law.table.select(law.table.domain == "a"))
    assert any(note.startswith("The law has 1 domain, the plan 8 experts") for note in plan(one, 1e7, 8e7, 8).notes)
    assert not any("experts" in note for note in plan(SCARCE, 1e7, 8e7, 8).notes), "a table without domains"


def test_repeats_that_the_law_has_never_seen_are_told() -> None:
    told = plan(SCARCE, 1e7, 8e7, 8, u_special=2e6, u_pretrain=8e7).notes
    assert any("D' is 5.0 times the 2M unique tokens of a domain; no row of the table repeats" in note for note in told)
    assert not any("unique tokens of the mixture" in note for note in told)
    assert not any("unique" in note for note in plan(SCARCE, 1e7, 8e7, 8, u_special=2e7).notes)


def test_n_may_lie_further_where_rows_reach_the_budget_at_three_splits() -> None:
    """1,000 times then, 30 else; and its level is said to be unknown."""
    at_t = [(n, f * 1e8, (1 - f) * 1e8 / 4) for n in (1e5, 2e5, 4e5) for f in (0.2, 0.5, 1.0)]
    reached = rows(SCARCE, at_t)
    told = plan(reached, 3e8, 1e8, 4).notes  # 750 times the largest N
    assert any("take its level as unknown" in note for note in told)
    assert not any("level as unknown" in note for note in plan(reached, 1e7, 1e8, 4).notes)
    with pytest.raises(UserError, match="N = 500M is 1250 times outside"):
        plan(reached, 5e8, 1e8, 4)
    with pytest.raises(UserError, match="N = 300M is 750 times outside"):
        plan(reached, 3e8, 2e8, 4)  # its rows end at half of this T
    two = rows(SCARCE, [point for point in at_t if point[1] != 5e7])
    with pytest.raises(UserError, match="N = 300M is 750 times outside"):
        plan(two, 3e8, 1e8, 4)
