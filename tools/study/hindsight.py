"""What every family of laws would have picked, told once the settings are measured: a test of none of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from splitjax import law
from splitjax.config import tokens_of
from splitjax.law import Budget
from splitjax.model import n_params

from .rows import Rows
from .spec import Study
from .verdict import Curves, percent, table

GRID = np.linspace(0, 1, 401)


def hindsight_table(study: Study, found: Mapping[str, Curves], rows: Rows) -> str:
    """One line a setting and family, fitted to the law's rows by the code as it is today."""
    lines = []
    for name in study.spec.laws:
        mine = {key: each for key, each in found.items() if study.spec.settings[key].law == name}
        if not mine:
            continue
        fitted = law.fit(rows.table(study.law_part(name)), bootstrap=0, seed=study.base.seed)
        for setting, curves in mine.items():
            for family in fitted.families:
                split = best_split(study, setting, fitted, family.name)
                weight = fitted.weights.get(family.name)
                label = family.name + (f" ({weight:.0%} of the law)" if weight else "")
                held = family.heldout.mre if family.heldout else np.nan
                lines.append([setting, label, *(percent(share, 2) for share in (family.mre, held)),
                              percent(split), percent(regret(curves, split), 2)])
    head = ["setting", "family", "off on the law's rows", "off on larger runs held out", "its split", "regret"]
    return table(head, lines)


def best_split(study: Study, name: str, fitted: law.LawFit, family: str) -> float:
    """The fraction at which a family puts the least mean loss, corners that it cannot predict left out."""
    setting, size = study.spec.settings[name], n_params(study.model_of(name))
    experts = study.setting_part(name, None).experts
    budget = Budget(size, tokens_of(setting.tokens, size), experts, setting.accounting)
    return float(GRID[np.argmin(fitted.predict(size, *budget.spend(GRID), family=family))])


def regret(curves: Curves, split: float) -> float:
    """How far the measured loss, interpolated at a split, lies above the least measured, as a share of it."""
    mean = curves.measured.mean
    return float(np.interp(split, curves.fraction, mean)) / float(mean.min()) - 1.0
