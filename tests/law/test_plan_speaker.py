"""One family decides between dense and split: two families differ by more at a corner than the corner from its side."""

from __future__ import annotations

import dataclasses

import numpy as np

from splitjax import law


def table() -> law.Table:
    rng = np.random.default_rng(0)
    rows = []
    for n in (1e5, 3e5, 1e6):
        for d in (0.0, 1e6, 3e6, 1e7):
            for s in (0.0, 1e5, 3e5, 1e6):
                if d + s:
                    loss = (1.5 + 40 / n**0.3 + 300 / (s + 2.0 * d**0.85) ** 0.35) * (1 + rng.normal(0, 0.005))
                    rows.append({"n_params": n, "d_pretrain": d, "d_special": s, "loss": loss})
    return law.Table.from_rows(rows)


def test_a_family_that_predicts_every_split_decides() -> None:
    both = law.fit(table(), family=["multiplicative", "effective_data"], bootstrap=10, seed=0)
    first = [both.named("multiplicative"), both.named("effective_data")]
    tied = dataclasses.replace(both, families=tuple(first), near=("multiplicative", "effective_data"))
    found = law.plan(tied, n_params=2e6, tokens=2e7, experts=4)
    assert found.family == "effective_data"
    assert np.isfinite(found.curve.loss).all()
    jumps = np.abs(np.diff(found.curve.loss))
    assert jumps[-1] < 5 * np.median(jumps) + 1e-3, "no step into the dense corner"
    assert any("decides" in note for note in found.notes)
    alone = law.fit(table(), family=["multiplicative"], bootstrap=10, seed=0)
    assert law.plan(alone, n_params=2e6, tokens=2e7, experts=4).family == "multiplicative"
