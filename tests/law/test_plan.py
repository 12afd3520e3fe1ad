"""The split: a minimum, by either accounting, with corners, intervals and refusals."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitjax.config import UserError
from splitjax.law import FAMILIES, Budget, LawFit, Table, choose_size, plan
from splitjax.law.splitting.budget import domain_weights
from splitjax.law.splitting.plan import _decision
from splitjax.law.splitting.view import mean_loss

from .synthetic import TRUTHS, exact, table

PARAMETERS = {
    "a": (0.1, 0.6), "b": (0.1, 0.6), "c": (0.05, 0.6), "g": (0.3, 1.2), "h": (0.0, 0.6), "m": (-0.3, 0.3),
    "r": (-0.05, 0.05),
}


@st.composite
def laws(draw) -> LawFit:
    name = draw(st.sampled_from(sorted(FAMILIES)))
    p = {}
    for key, value in TRUTHS[name].items():
        low, high = PARAMETERS.get(key, (value / 4, value * 4))
        p[key] = value if key == "U" else draw(st.floats(low, high))
    return exact(name, p)


@settings(max_examples=60)
@given(
    law=laws(), n=st.floats(1e5, 2e8), tokens=st.floats(1e7, 5e9), experts=st.integers(1, 64),
    accounting=st.sampled_from(["total", "per_model"]),
)
def test_the_split_is_the_minimum_over_a_dense_grid(
    law: LawFit, n: float, tokens: float, experts: int, accounting: str
) -> None:
    found = plan(law, n, tokens, experts, accounting, extrapolate=True)
    fraction = np.unique(np.concatenate([np.linspace(0, 1, 20001), np.logspace(-9, 0, 2001)]))
    share = experts if accounting == "total" else 1
    losses = law.predict(n, fraction * tokens, (1 - fraction) * tokens / share)
    assert found.predicted_loss <= losses.min() * (1 + 1e-9)
    assert found.predicted_loss == pytest.approx(law.predict(n, found.d_pretrain, found.d_special))
    assert found.d_pretrain + share * found.d_special == pytest.approx(tokens)
    low, high = found.flat_region
    assert low <= found.split_fraction <= high
    inside = (fraction >= low) & (fraction <= high)
    assert (losses[inside] <= found.predicted_loss * (1 + 1.001e-3)).all()


@pytest.mark.parametrize("accounting", ["total", "per_model"])
@pytest.mark.parametrize("family", ["additive", "transfer_gap", "adapting", "two_skills"])
def test_marginal_gains_are_equal_at_the_split(family: str, accounting: str) -> None:
    marginal = plan(exact(family), 1e7, 3e8, 8, accounting).marginal
    assert marginal["pretrain"] == pytest.approx(marginal["special"], rel=1e-3)


def test_the_accounting_matters() -> None:
    law = exact("blending")
    total, each = (plan(law, 1e7, 3e8, 8, accounting) for accounting in ("total", "per_model"))
    assert total.d_pretrain + 8 * total.d_special == pytest.approx(3e8)
    assert each.d_pretrain + each.d_special == pytest.approx(3e8)
    assert each.split_fraction != pytest.approx(total.split_fraction, abs=0.01)
    assert "dense_equal_compute" in each.baselines
    assert "dense_equal_compute" not in total.baselines
    equal = each.baselines["dense_equal_compute"]
    assert equal["d_pretrain"] == pytest.approx(each.d_pretrain + 8 * each.d_special)


@pytest.mark.parametrize("accounting", ["total", "per_model"])
def test_tokens_behind_the_seed_count_into_d_and_not_into_the_budget(accounting: str) -> None:
    law, n, tokens, before = exact("effective_data"), 1e7, 1e9, 3e8
    share = 4 if accounting == "total" else 1
    found = plan(law, n, tokens, 4, accounting, extrapolate=True, before=before)
    assert found.d_pretrain + share * found.d_special == pytest.approx(tokens)
    told = law.predict(n, before + found.d_pretrain, found.d_special)
    fresh = plan(law, n, tokens, 4, accounting, extrapolate=True)
    assert found.predicted_loss == pytest.approx(told) != fresh.predicted_loss
    fraction = np.linspace(0, 1, 20001)
    losses = law.predict(n, before + fraction * tokens, (1 - fraction) * tokens / share)
    assert found.predicted_loss <= losses.min() * (1 + 1e-9)
    dense = found.baselines["dense"]
    assert dense["d_pretrain"] == round(tokens)
    assert dense["predicted_loss"] == pytest.approx(law.predict(n, before + tokens, 0.0))


def test_corners_are_answers() -> None:
    dense = plan(exact("effective_data", TRUTHS["effective_data"] | {"k": 40.0, "g": 1.0}), 1e7, 3e8, 8)
    assert (dense.decision, dense.split_fraction, dense.d_special) == ("never_split", 1.0, 0.0)
    at_once = plan(exact("effective_data", TRUTHS["effective_data"] | {"k": 1e-3, "g": 0.8}), 1e7, 3e8, 8)
    assert at_once.decision in ("split", "split_at_once")
    assert at_once.split_fraction < 1e-6
    assert at_once.flat_region[0] == 0.0


def test_a_family_that_cannot_predict_a_corner_keeps_out_of_it() -> None:
    found = plan(exact("additive"), 1e7, 3e8, 8)
    assert found.decision == "split"
    assert found.baselines["dense"]["predicted_loss"] is None
    assert not np.isfinite(found.curve.loss[[0, -1]]).any()
    assert any("dense" in note for note in found.notes)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("best", "interval", "beats_dense", "decision"),
    [
        (0.4, (0.3, 0.5), 0.6, "split"),
        (0.4, (0.1, 0.7), 0.99, "split"),  # where to split is open, whether is not
        (0.4, (0.1, 0.7), 0.9, "undetermined"),
        (0.4, (0.1, 0.7), None, "undetermined"),
        (1.0, (0.4, 1.0), None, "undetermined"),
        (1.0, (0.6, 1.0), None, "never_split"),
        (0.0, (0.0, 0.6), 0.97, "split_at_once"),
    ],
)
def test_a_wide_interval_decides_where_the_split_surely_beats_one_model(
    best: float, interval: tuple[float, float], beats_dense: float | None, decision: str
) -> None:
    assert _decision(best, interval, beats_dense) == decision


def test_a_rival_is_beaten_in_a_share_of_draws() -> None:
    law = exact("effective_data", draws=200, spread=0.02)
    told = plan(law, 1e7, 3e8, 8).baselines
    grid = np.array([plan(law, 1e7, 3e8, 8).split_fraction, 0.8])
    d, s = grid * 3e8, (1 - grid) * 3e8 / 8
    ours, theirs = law.chosen.losses(1e7, d, s, "", draws=True).T
    assert told["80/20"]["beaten"] == pytest.approx((ours < theirs).mean())
    assert 0.5 < told["80/20"]["beaten"] < 1
    never = plan(exact("effective_data", TRUTHS["effective_data"] | {"k": 40.0, "g": 1.0}), 1e7, 3e8, 8)
    assert never.baselines["dense"]["beaten"] is None, "the plan itself"
    assert never.baselines["80/20"]["beaten"] == 1.0


def test_bands_hold_the_curve_and_the_loss() -> None:
    found = plan(exact("blending", draws=200, spread=0.005), 1e7, 3e8, 8)
    seen = np.isfinite(found.curve.loss)
    assert (found.curve.low[seen] <= found.curve.loss[seen]).all()
    assert (found.curve.loss[seen] <= found.curve.high[seen]).all()
    assert found.loss_interval[0] < found.predicted_loss < found.loss_interval[1]
    assert found.interval[0] < found.split_fraction < found.interval[1]


def test_weights_and_domains() -> None:
    law = exact_domains()
    mean = plan(law, 1e7, 3e8, 2)
    for name, told in mean.per_domain.items():
        alone = plan(law, 1e7, 3e8, 2, weights={name: 1.0})
        assert alone.split_fraction == pytest.approx(told["split_fraction"], abs=1e-9)
    low, high = sorted(told["split_fraction"] for told in mean.per_domain.values())
    assert low < mean.split_fraction < high
    heavy = plan(law, 1e7, 3e8, 2, weights={"near": 1.0, "far": 9.0})
    assert heavy.split_fraction != pytest.approx(mean.split_fraction, abs=1e-3)
    with pytest.raises(UserError, match=r"no domain 'fat'.*Did you mean 'far'"):
        plan(law, 1e7, 3e8, 2, weights={"fat": 1.0})


def exact_domains() -> LawFit:
    """Two domains: one that pretraining serves well and one that it does not."""
    near, far = exact("blending").families[0], exact("blending", TRUTHS["blending"] | {"k": 0.4}).families[0]
    form = dataclasses.replace(near.forms[0], domains=("near",))
    other = dataclasses.replace(form, domains=("far",))
    both = dataclasses.replace(near, forms=(form, other), xs=(near.xs[0], far.xs[0]))
    rows = table("blending", domains={"near": {}, "far": {"k": 0.4}})
    return dataclasses.replace(exact("blending"), families=(both,), table=rows)


def test_unique_tokens_hold_repetition_against_a_split() -> None:
    base = exact("effective_data", TRUTHS["effective_data"] | {"k": 0.8})
    one = base.families[0]
    form = dataclasses.replace(one.forms[0], repeats=("R_special",))
    fitted = dataclasses.replace(one, forms=(form,), xs=(np.append(one.xs[0], np.log(4.0)),))
    law = dataclasses.replace(base, families=(fitted,))
    fresh, scarce = plan(law, 1e7, 3e8, 8), plan(law, 1e7, 3e8, 8, u_special=1e6)
    assert scarce.split_fraction > fresh.split_fraction
    assert scarce.predicted_loss > fresh.predicted_loss
    assert plan(law, 1e7, 3e8, 8, u_special={"": 1e6}).to_json() == scarce.to_json()


def test_refusals() -> None:
    law = exact("blending")
    with pytest.raises(UserError, match=r"N = 1B is 100 times outside the fitted 300k to 10M.*--extrapolate"):
        plan(law, 1e9, 3e8, 8)
    with pytest.raises(UserError, match=r"T = 30B is 143 times outside"):
        plan(law, 1e7, 3e10, 8)
    assert plan(law, 1e9, 3e10, 8, extrapolate=True).decision == "split"
    with pytest.raises(UserError, match="no family predicts held-out rows better than their mean"):
        plan(dataclasses.replace(law, beats_mean=False), 1e7, 3e8, 8)
    with pytest.raises(UserError, match="0 experts"):
        plan(law, 1e7, 3e8, 0)
    with pytest.raises(UserError, match="no accounting 'each'"):
        plan(law, 1e7, 3e8, 8, "each")
    without = [{"n_params": n, "d_pretrain": d, "loss": 3.0} for n in (1e6, 2e6) for d in (1e7, 2e7, 5e7)]
    with pytest.raises(UserError, match="no d_special column"):
        plan(dataclasses.replace(law, table=Table.from_rows(without)), 1e7, 3e8, 8)


def test_n_is_chosen_under_a_compute_budget() -> None:
    law, flops = exact("blending", draws=20, spread=0.01), 2e16
    found = choose_size(law, flops, 8)
    assert 6 * found.budget.n_params * found.budget.tokens == pytest.approx(flops)
    for n in found.budget.n_params * np.array([0.7, 0.9, 1.1, 1.4]):
        assert plan(law, n, flops / 6 / n, 8).predicted_loss > found.predicted_loss
    assert found.n_interval is not None
    assert found.n_interval[0] <= found.budget.n_params <= found.n_interval[1]
    assert choose_size(law, flops, 8, flops_per_token=12.0).budget.tokens < found.budget.tokens


@pytest.mark.parametrize(("weights", "alone"), [
    (None, False), ({"a": 1.0, "b": 1.0, "c": 1.0}, False), ({"a": 1.0, "b": 1.0}, True),
    ({"a": 1.0, "b": 1.0, "c": 0.0}, True), ({"a": 2.0, "b": 1.0, "c": 1.0}, True), ({"c": 1.0}, True),
])
def test_what_domains_have_alone_cancels_in_the_plain_mean_over_all_of_them_only(
    weights: dict[str, float] | None, alone: bool
) -> None:
    asked: list[tuple[str, bool]] = []

    class Speaker:
        drawn = 0

        def losses(
            self, n: float, d: np.ndarray, s: np.ndarray, domain: str, *, alone: bool, **rest: object
        ) -> np.ndarray:
            asked.append((domain, alone))
            return np.full(len(d), {"a": 1.0, "b": 2.0, "c": 4.0}[domain])

    mean = domain_weights(("a", "b", "c"), weights)
    budget = Budget(1e6, 1e8, 3, "total")
    loss = mean_loss(Speaker(), budget, np.ones(1), np.ones(1), mean, False)  # type: ignore[arg-type]
    named = weights or dict.fromkeys("abc", 1.0)
    assert {each for _, each in asked} == {alone}
    assert [domain for domain, _ in asked] == [name for name in named if named[name]]
    total = sum(named.values())
    assert loss == pytest.approx(sum(named[k] * {"a": 1.0, "b": 2.0, "c": 4.0}[k] for k in named) / total)
