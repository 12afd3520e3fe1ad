#!/usr/bin/env python3
"""How well a law, fitted to the small runs of docs/study alone, picks the splits that were measured since.

    python tools/split_regret.py                                   # all eleven settings
    python tools/split_regret.py --family blending --uncorrected   # another way to say where to split

Trains nothing: rows and settings are those of docs/study. The settings were known when the law was last changed, so
this is no test of it; it tells one way of predicting from another. A loss between two measured splits is interpolated.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from study.verdict import percent, table  # noqa: E402

from splitjax.config import tokens_of  # noqa: E402
from splitjax.config.units import parse_count  # noqa: E402
from splitjax.law import LawFit, Measured, Table, fit, plan  # noqa: E402

STUDIES = ("text_study", "text_study_quick", "text_study_long")
LIKE_THE_LAW = ("text_study", "text_study_long")
"""Studies whose settings are little longer than the law's runs: where the level of the loss is judged."""
CONSTANT = 0.35
"""The fraction that would have served the settings best, known only afterwards."""


@dataclass(frozen=True)
class Setting:
    """A budget whose splits were measured: N, K, T, and losses of each (D, D'), the mean over seeds and domains."""

    study: str
    name: str
    law: str
    accounting: Any
    n_params: float
    experts: int
    tokens: float
    cells: np.ndarray
    loss: np.ndarray

    @property
    def measured(self) -> Measured:
        share = self.experts if self.accounting == "total" else 1
        return Measured(self.cells[:, 0] / (self.cells[:, 0] + share * self.cells[:, 1]), self.loss[None])

    def regret(self, fraction: float) -> float:
        """How far the loss of a split lies above the least measured, as a share of it."""
        found = self.measured
        return float(np.interp(fraction, found.fraction, found.mean) / found.mean.min() - 1)


@dataclass(frozen=True)
class Outcome:
    """What a law said of a setting, and what came of it."""

    setting: Setting
    split: float
    interval: tuple[float, float]
    off: float
    """Mean error of the predicted loss over the measured splits."""

    @property
    def regret(self) -> float:
        return self.setting.regret(self.split)

    @property
    def holds(self) -> bool:
        low, high = self.interval
        return low - 0.005 <= self.setting.measured.best <= high + 0.005

    @property
    def width(self) -> float:
        return self.interval[1] - self.interval[0]


def settings(study: str, rows: list[dict[str, str]]) -> Iterator[Setting]:
    """The settings of a study with their measured losses."""
    spec = yaml.safe_load((ROOT / "docs" / "study" / study / "settings.yaml").read_text(encoding="utf-8"))
    for name, asked in spec["settings"].items():
        mine = [row for row in rows if row["part"] == name]
        losses: dict[tuple[int, int], list[float]] = {}
        for row in mine:
            losses.setdefault((int(row["d_pretrain"]), int(row["d_special"])), []).append(float(row["loss"]))
        cells = sorted(losses, key=lambda cell: cell[0] / (cell[0] + cell[1]))
        size = float(mine[0]["n_params"])
        yield Setting(
            study, name, asked["law"], asked["accounting"], size, len({row["domain"] for row in mine}),
            float(tokens_of(parse_count(asked["tokens"]), int(size))), np.array(cells, float),
            np.array([np.mean(losses[cell]) for cell in cells]),
        )


def outcome(law: LawFit, setting: Setting) -> Outcome:
    """What the law says, by the default settings of a plan."""
    found = plan(law, setting.n_params, setting.tokens, setting.experts, setting.accounting)
    told = law.predict(setting.n_params, *setting.cells.T)
    return Outcome(setting, found.split_fraction, found.interval, float(np.abs(told / setting.loss - 1).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="auto", help="families to combine, separated by commas")
    parser.add_argument("--uncorrected", action="store_true", help="leave the residuals alone")
    parser.add_argument("--bootstrap", type=int, default=200, help="draws behind the intervals")
    args = parser.parse_args()
    outcomes = []
    laws: dict[str, LawFit] = {}
    for study in STUDIES:
        with open(ROOT / "docs" / "study" / study / "observations.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for setting in settings(study, rows):
            mine = [{k: v for k, v in row.items() if k in COLUMNS} for row in rows if row["part"] == setting.law]
            small = Table.from_rows(mine)
            if small.hash not in laws:
                laws[small.hash] = fit(small, args.family.split(","), bootstrap=args.bootstrap)
                if args.uncorrected:
                    vars(laws[small.hash].chosen).update(correction=None, allowance=None)
            outcomes.append(outcome(laws[small.hash], setting))
    print(table(HEAD, [*map(_line, outcomes), _mean(outcomes)]))


COLUMNS = ("run", "trunk", "domain", "n_params", "d_pretrain", "d_special", "seed", "loss")
HEAD = ("setting", "T", "split", "90 % interval", "measured best", "inside", "regret",
        f"regret of {CONSTANT:.0%} everywhere", "predicted loss off")


def _line(each: Outcome) -> list[str]:
    setting, (low, high) = each.setting, each.interval
    return [f"{setting.study} {setting.name}", f"{setting.tokens:,.0f}", percent(each.split),
            f"{100 * low:.0f} to {100 * high:.0f} %", percent(setting.measured.best), "yes" if each.holds else "no",
            percent(each.regret, 2), percent(setting.regret(CONSTANT), 2), percent(each.off, 2)]


def _mean(outcomes: list[Outcome]) -> list[str]:
    regrets, constants = ([f(each) for each in outcomes]
                          for f in (lambda each: each.regret, lambda each: each.setting.regret(CONSTANT)))
    like = [each.off for each in outcomes if each.setting.study in LIKE_THE_LAW]
    return ["mean (largest)", "", "", f"width {percent(np.mean([each.width for each in outcomes]), 1)}", "",
            f"{sum(each.holds for each in outcomes)} of {len(outcomes)}",
            *(f"{percent(np.mean(part), 2)} ({percent(max(part), 2)})" for part in (regrets, constants)),
            f"{percent(np.mean([each.off for each in outcomes]), 2)}; of {' and '.join(LIKE_THE_LAW)} "
            f"{percent(np.mean(like), 2)}"]


if __name__ == "__main__":
    main()
