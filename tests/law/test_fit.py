"""Fits: what is chosen, what is told, and that every option counts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from splitjax.config import UserError, read_json, write_json, write_record
from splitjax.law import FAMILIES, LawFit, Table, fit, plan
from splitjax.law.fitting.bootstrap import _donors

from .synthetic import TRUTHS, table

DATA = table("effective_data", noise=0.01, pretrain=(0.0, 2e6, 6e6, 2e7, 6e7))


@pytest.fixture(scope="module")
def law() -> LawFit:
    """All families on a table of the effective-data law."""
    return fit(DATA, bootstrap=40, seed=0)


def quick(data: Table, **options: object) -> LawFit:
    """The effective-data family alone; no draws unless asked for."""
    return fit(data, **{"family": "effective_data", "bootstrap": 0, **options})  # type: ignore[arg-type]


def test_auto_compares_all_and_combines_those_that_know_both_corners(law: LawFit) -> None:
    assert law.family == "combined"
    assert {fitted.name for fitted in law.families} == {name for name, each in FAMILIES.items() if each.uses_special}
    assert set(law.weights) <= {"effective_data", "adapting", "blending", "two_skills"}
    assert "effective_data" in law.weights
    assert sum(law.weights.values()) == pytest.approx(1)
    assert [fitted.name for fitted in law.families][: len(law.weights)] == list(law.weights)
    assert [*law.weights.values()] == sorted(law.weights.values(), reverse=True)
    errors = [fitted.heldout.mre for fitted in law.families if fitted.heldout][len(law.weights) :]
    assert errors == sorted(errors)
    rows = {fitted.heldout.n for fitted in law.families if fitted.heldout}
    assert len(rows) == 1, "every family is scored on the same rows"
    assert set(law.heldout.by_axis) == {"n_params", "d_pretrain", "d_special"}
    assert law.beats_mean


def test_families_are_fitted_where_they_are_finite_only(law: LawFit) -> None:
    t = DATA
    assert law.named("effective_data").n == len(t)
    assert law.named("blending").n == len(t)
    assert law.named("additive").n == ((t.d_pretrain > 0) & (t.d_special > 0)).sum()


def test_parameters_and_intervals(law: LawFit) -> None:
    fitted = law.named("effective_data")
    for name, (low, high) in fitted.intervals().items():
        assert low < fitted.parameters()[name] < high or name in fitted.at_bound
    assert fitted.parameters()["b"] == pytest.approx(TRUTHS["effective_data"]["b"], rel=0.15)
    assert fitted.mre < 0.012
    assert fitted.r2 > 0.99
    assert fitted.agree > 4


def test_a_law_survives_its_file(law: LawFit, tmp_path: Path) -> None:
    path = tmp_path / "law.json"
    law.save(path)
    again = LawFit.load(path)
    assert again.summary() == law.summary()
    assert plan(again, 3e7, 5e8, 8).to_json() == plan(law, 3e7, 5e8, 8).to_json()
    tree = read_json(path)
    write_json(path, tree | {"version": 99})
    with pytest.raises(UserError, match=r"not a law of version 3 \(this one: 99"):
        LawFit.load(path)
    tree["table"]["rows"]["loss"][0] += 0.1
    write_json(path, tree)
    with pytest.raises(UserError, match="its hash does not match"):
        LawFit.load(path)
    del tree["solutions"][0]["parts"][0]["x"]
    del tree["hash"]
    write_record(path, tree)
    with pytest.raises(UserError, match="damaged law"):
        LawFit.load(path)
    write_json(path, {"kind": "plan"})
    with pytest.raises(UserError, match="not a law"):
        LawFit.load(path)


def test_fits_repeat() -> None:
    one, two, other = (quick(DATA, bootstrap=20, seed=seed) for seed in (3, 3, 4))
    assert one.to_json() == two.to_json()
    assert one.intervals != other.intervals
    assert one.families[0].objective == pytest.approx(other.families[0].objective, rel=1e-9)


def test_the_loss_counts() -> None:
    wild = dataclasses.replace(DATA, loss=np.where(np.arange(len(DATA)) == 5, 2 * DATA.loss, DATA.loss))
    robust, squared = quick(wild), quick(wild, loss="squared")
    truth = quick(DATA).predict(1e7, 1e8, 1e6)
    assert abs(robust.predict(1e7, 1e8, 1e6) - truth) < abs(squared.predict(1e7, 1e8, 1e6) - truth)
    assert quick(wild, delta=10.0).families[0].parameters() != robust.families[0].parameters()


def test_weights_count() -> None:
    heavy = dataclasses.replace(DATA, weight=np.where(DATA.n_params == DATA.n_params.max(), 50.0, 1.0))
    at = DATA.n_params == DATA.n_params.max()
    one, two = quick(DATA, loss="squared"), quick(heavy, loss="squared")
    off = [np.square(f.chosen.on(DATA)[at] - DATA.loss[at]).sum() for f in (one, two)]
    assert off[1] < off[0]


def test_rows_held_out_are_not_seen() -> None:
    text = "d_pretrain >= 6e7"
    test = DATA.d_pretrain >= 6e7
    one = quick(DATA, holdout=text)
    changed = dataclasses.replace(DATA, loss=np.where(test, 1.5 * DATA.loss, DATA.loss))
    two = quick(changed, holdout=text)
    assert one.families[0].parameters() == two.families[0].parameters()
    assert one.holdout.n == test.sum()
    assert one.holdout.mre < 0.03 < 0.2 < two.holdout.mre
    with pytest.raises(UserError, match="holds for 0 of"):
        quick(DATA, holdout="d_pretrain > 1e20")


def test_domains_joint_or_separate() -> None:
    data = table("effective_data", noise=0.01, domains={"law": {"E": 1.2, "k": 0.5}, "code": {"E": 1.9, "b": 0.38}})
    joint, separate = quick(data), quick(data, domains="separate")
    assert not isinstance(joint.families[0].parameters()["b"], dict)
    assert set(separate.families[0].parameters()["b"]) == {"law", "code"}
    assert separate.families[0].n_free == 14
    assert joint.families[0].n_free == 11
    assert separate.families[0].objective < joint.families[0].objective
    for fitted in (joint, separate):
        each = [fitted.predict(1e7, 1e8, 1e6, domain) for domain in ("law", "code")]
        assert fitted.predict(1e7, 1e8, 1e6) == pytest.approx(np.mean(each))
    with pytest.raises(UserError, match="no domain 'laws'"):
        joint.predict(1e7, 1e8, 1e6, "laws")


def test_one_n_drops_the_n_term() -> None:
    law = quick(table("effective_data", noise=0.01, sizes=(1e6,)))
    assert {"A", "a"}.isdisjoint(law.families[0].parameters())
    assert any("N term was dropped" in note for note in law.notes)
    assert law.predict(1e6, 1e8, 1e6) > 0
    with pytest.raises(UserError, match=r"the table has 1 N \(1M\): the N term was dropped, so N = 2M cannot"):
        law.predict(2e6, 1e8, 1e6)
    with pytest.raises(UserError, match="cannot be predicted"):
        plan(law, 2e6, 1e8, 8, extrapolate=True)


def test_two_n_allow_no_extrapolation() -> None:
    law = quick(table("effective_data", noise=0.01, sizes=(1e6, 4e6)))
    assert law.predict(2e6, 1e8, 1e6) > 0
    with pytest.raises(UserError, match="does not allow extrapolation in N"):
        law.predict(5e6, 1e8, 1e6)


def test_repetition_is_fitted() -> None:
    from splitjax.law.fitting.families import effective
    from splitjax.law.fitting.scale import Reference

    half_life, unique = 6.0, 4e5
    points = table("effective_data", special=(0.0, 4e5, 2e6, 1e7, 4e7))
    s = points.d_special
    repeats = np.maximum(s / unique - 1, 0)
    worth = np.where(s > unique, np.exp(effective(np, np.log(np.maximum(s, 1)), repeats, np.log(half_life))), s)
    loss = np.array(list(_exact_losses(points, worth)))
    data = dataclasses.replace(points, loss=loss, u_special=np.minimum(s, unique))
    law = quick(data)
    assert law.families[0].parameters()["R_special"] == pytest.approx(half_life, rel=1e-2)
    assert law.predict(1e7, 1e8, 1e7, u_special=4e5) > law.predict(1e7, 1e8, 1e7)
    assert Reference.of(data).t == pytest.approx(Reference.of(points).t)


def _exact_losses(points: Table, special: np.ndarray) -> np.ndarray:
    from .synthetic import formula

    return formula("effective_data", TRUTHS["effective_data"], points.n_params, points.d_pretrain, special)


def test_pure_noise_does_not_beat_the_mean() -> None:
    rng = np.random.default_rng(0)
    noise = dataclasses.replace(DATA, loss=3 * np.exp(0.1 * rng.normal(size=len(DATA))))
    law = quick(noise)
    assert not law.beats_mean
    with pytest.raises(UserError, match="no family predicts held-out rows"):
        plan(law, 1e7, 3e8, 8)


def test_runs_are_redrawn_whole() -> None:
    data = table("effective_data", noise=0.01, domains={"law": {}, "code": {"E": 2.0}})
    donors = _donors(data, np.ones(len(data), bool), 30, np.random.default_rng(0))
    half = len(data) // 2  # the table lists all rows of one domain, then of the other, in the same order of runs
    assert (donors[:, :half] + half == donors[:, half:]).all()
    assert (data.domain[donors] == data.domain).all()
    alone = _donors(dataclasses.replace(data, run=None), np.ones(len(data), bool), 30, np.random.default_rng(0))
    assert (data.domain[alone] == data.domain).all()
    assert not (alone[:, :half] + half == alone[:, half:]).all()
    assert any("row by row" in note for note in quick(dataclasses.replace(DATA, run=None), bootstrap=10).notes)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"loss": "l1"}, "no loss 'l1'"),
        ({"domains": "each"}, "no way 'each'"),
        ({"bootstrap": -1}, "-1 draws"),
        ({"delta": 0.0}, "not a positive threshold"),
        ({"family": "efective_data"}, "Did you mean 'effective_data'"),
    ],
)
def test_wrong_options_are_told(options: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        quick(DATA, **options)


def test_a_family_that_needs_d_special_says_so() -> None:
    without = Table.from_rows(
        {"n_params": n, "d_pretrain": d, "loss": 1 + 50 / n**0.3 + 90 / d**0.3}
        for n in (1e6, 3e6, 9e6)
        for d in (1e7, 5e7, 2e8)
    )
    with pytest.raises(UserError, match="family effective_data: it needs a d_special column"):
        quick(without)
    law = fit(without, bootstrap=0)
    assert {fitted.name for fitted in law.families} == {"chinchilla", "coupled"}


def test_shared_tables(shared: Path) -> None:
    import csv

    chinchilla = Table.read(
        shared / "lawdata/kyo_takano_chinchilla/df.csv", {"n_params": "N", "d_pretrain": "D"}
    )
    assert fit(chinchilla, "chinchilla", bootstrap=0).families[0].objective <= 0.00084010
    with open(shared / "lawdata/cg_transfer2021/points.csv", newline="") as file:
        rows = [
            {"n_params": 1e6 * float(r["N_millions"]), "d_pretrain": float(r["D_pretrain_images"]),
             "d_special": float(r["D_finetune_images"]), "loss": 1 - float(r["acc_best"])}
            for r in csv.DictReader(file) if float(r["D_pretrain_images"]) > 0
        ]
    law = fit(Table.from_rows(rows), bootstrap=0)
    names = [fitted.name for fitted in law.families]
    assert names.index("effective_data") < names.index("additive")
    assert "effective_data" in law.weights
    assert law.chosen.mre <= 0.011
