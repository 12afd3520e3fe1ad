"""Profile likelihood and pictures."""

from __future__ import annotations

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.law import LawFit, fit, plan, profile

from .synthetic import TRUTHS, table


@pytest.fixture(scope="module", params=["huber", "squared"])
def law(request: pytest.FixtureRequest) -> LawFit:
    return fit(table("blending", noise=0.01, seed=1), "blending", loss=request.param, bootstrap=40)


def test_a_profile_is_least_at_the_estimate(law: LawFit) -> None:
    found = profile(law, "b")
    assert found.best == pytest.approx(law.families[0].parameters()["b"], rel=1e-4)
    assert found.interval[0] < found.best < found.interval[1]
    inside = (found.values > found.interval[0]) & (found.values < found.interval[1])
    rise = found.objective - found.objective.min()
    assert (rise[inside] <= found.threshold * 1.01).all()
    assert rise[0] > found.threshold
    assert rise[-1] > found.threshold
    low, high = law.intervals["b"]
    assert 0.3 < (found.interval[1] - found.interval[0]) / (high - low) < 3, "it agrees with the bootstrap"


def test_a_scale_or_a_stranger_has_no_profile(law: LawFit) -> None:
    for name in ("k", "E", "z"):
        with pytest.raises(UserError, match=f"'{name}' is not an exponent here"):
            profile(law, name)


@pytest.mark.slow
def test_profile_intervals_hold_the_truth() -> None:
    held = []
    for seed in range(100):
        one = fit(table("blending", noise=0.01, seed=seed), "blending", bootstrap=0)
        low, high = profile(one, "b").interval
        held.append(low <= TRUTHS["blending"]["b"] <= high)
    assert 0.8 <= np.mean(held) <= 0.98


def test_pictures_are_drawn(law: LawFit) -> None:
    import io

    pictures = [law.plot(), plan(law, 3e7, 1e9, 8).plot(), profile(law, "b").plot()]
    for figure in pictures:
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=40)
        assert image.getvalue().startswith(b"\x89PNG")
    labels = {axes.get_xlabel() for axes in pictures[0].axes}
    assert {"predicted loss", "D + D' (tokens)", "D (tokens)", "D (tokens); grey: beyond the fit"} <= labels
