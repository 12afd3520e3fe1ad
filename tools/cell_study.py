"""Cells of the committed studies chosen one after another for a budget: how little of a sweep says where to split.

    python tools/cell_study.py                       # the eleven settings, a share of 0.3
    python tools/cell_study.py --share 0.2 --settings text_study

The pool of a setting is its law's own rows; a price is 6 N a token with shared trunks, as a share of that of the
whole pool. A third is chosen by a prior, then a law is fitted and chooses a third more, twice. Random cells of the same
price (means over --draws of them), the cheapest cells and the whole pool stand beside. Trains nothing; the settings
were known when the rule was made.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from split_regret import COLUMNS, STUDIES, Setting, settings  # noqa: E402
from study.verdict import percent, table  # noqa: E402

from splitjax.config import UserError  # noqa: E402
from splitjax.law import Budget, Cell, LawFit, Table, fit, plan  # noqa: E402
from splitjax.law.splitting import cell_choice, design  # noqa: E402

ROUNDS = 3


@dataclass(frozen=True)
class Pool:
    """The small runs of a setting: rows of each cell, and the budget that is asked about."""

    setting: Setting
    rows: dict[Cell, list[dict[str, str]]]

    @property
    def budget(self) -> Budget:
        s = self.setting
        return Budget(s.n_params, s.tokens, s.experts, s.accounting)

    @property
    def cells(self) -> list[Cell]:
        return list(self.rows)

    def price(self, cells: Sequence[Cell]) -> float:
        return design.price(cells, self.setting.experts)

    def law(self, cells: Sequence[Cell]) -> LawFit:
        return fit(Table.from_rows([row for cell in cells for row in self.rows[cell]]))

    def regret(self, cells: Sequence[Cell]) -> float:
        """Of the split that a law of these cells picks; of a split at half where they make none."""
        s = self.setting
        try:
            found = plan(self.law(cells), s.n_params, s.tokens, s.experts, s.accounting, extrapolate=True)
        except UserError:
            return s.regret(0.5)
        return s.regret(found.split_fraction)


def one_after_another(pool: Pool, limit: float) -> list[Cell]:
    """Chosen by a prior, then by the law of those seen so far."""
    chosen: list[Cell] = []
    draws = design.prior(pool.budget, pool.cells)
    for part in range(1, ROUNDS + 1):
        chosen = _more(pool, chosen, draws, limit * part / ROUNDS)
        if part < ROUNDS:
            try:
                draws = design.drawn(pool.law(chosen), pool.budget, pool.cells)
            except UserError:  # too few to make a law: the prior goes on
                continue
    return chosen


def _more(pool: Pool, chosen: list[Cell], draws: cell_choice.Draws, limit: float) -> list[Cell]:
    """Cells added within the limit, each by what it takes from the split for its price beside those chosen."""
    so_far = pool.price(chosen) if chosen else 0.0
    prices = [np.inf if cell in chosen else pool.price([*chosen, cell]) - so_far for cell in pool.cells]
    found = cell_choice.choose(draws, prices, limit - so_far, design.NOISE)
    added = [pool.cells[i] for i in found.cells]
    return _fill(pool, [*chosen, *added], limit, sorted(range(len(prices)), key=lambda i: prices[i]))


def _fill(pool: Pool, chosen: list[Cell], limit: float, order: Sequence[int]) -> list[Cell]:
    """Further cells in an order, while the price allows: shared trunks leave some of it."""
    for i in order:
        cell = pool.cells[i]
        if cell not in chosen and pool.price([*chosen, cell]) <= limit:
            chosen = [*chosen, cell]
    return chosen


def cheapest(pool: Pool, limit: float) -> list[Cell]:
    return _fill(pool, [], limit, sorted(range(len(pool.cells)), key=lambda i: pool.price([pool.cells[i]])))


def at_random(seed: int) -> Callable[[Pool, float], list[Cell]]:
    def chosen(pool: Pool, limit: float) -> list[Cell]:
        order = np.random.default_rng(seed).permutation(len(pool.cells))
        return _fill(pool, [], limit, [int(i) for i in order])

    return chosen


def pools(studies: Sequence[str]) -> list[Pool]:
    found = []
    for study in studies:
        with open(ROOT / "docs" / "study" / study / "observations.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for setting in settings(study, rows):
            of: dict[Cell, list[dict[str, str]]] = {}
            for row in rows:
                if row["part"] == setting.law:
                    cell = Cell(*(float(row[name]) for name in ("n_params", "d_pretrain", "d_special")))
                    of.setdefault(cell, []).append({k: v for k, v in row.items() if k in COLUMNS})
            found.append(Pool(setting, of))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.3, help="of the pool's FLOPs")
    parser.add_argument("--draws", type=int, default=2, help="random choices")
    parser.add_argument("--settings", default=",".join(STUDIES), help="studies, with commas")
    args = parser.parse_args()
    lines, regrets = [], []
    for pool in pools(args.settings.split(",")):
        limit = args.share * pool.price(pool.cells)
        chosen = one_after_another(pool, limit)
        random = np.mean([pool.regret(at_random(seed)(pool, limit)) for seed in range(args.draws)])
        told = [pool.regret(chosen), float(random), pool.regret(cheapest(pool, limit)), pool.regret(pool.cells)]
        regrets.append(told)
        share = pool.price(chosen) / pool.price(pool.cells)
        name = f"{pool.setting.study} {pool.setting.name}"
        lines.append([name, f"{len(chosen)} of {len(pool.cells)}", percent(share), *map(_regret, told)])
        print(lines[-1], file=sys.stderr, flush=True)
    lines.append(["mean", "", "", *map(_regret, np.mean(regrets, 0))])
    print(table(("setting", "cells", "FLOPs", "one after another", "random", "cheapest", "all"), lines))


def _regret(value: float) -> str:
    return f"{100 * value:.2f} %"


if __name__ == "__main__":
    main()
