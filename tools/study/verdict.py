"""The study's tables, in Markdown: what the law said beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitjax.law import Measured, Trial, best_constant, trial
from splitjax.model import n_params

from .picks import fraction_of
from .rows import Row, Rows, Sizes
from .spec import Part, Study

CONSTANT = 0.35
"""The split that did best, told afterwards, on the settings of the first studies."""


@dataclass(frozen=True)
class Curves:
    """Measured losses of a setting, [seeds, points, domains], and what was predicted, [points, domains]."""

    domains: tuple[str, ...]
    fraction: np.ndarray
    loss: np.ndarray
    predicted: np.ndarray

    @property
    def measured(self) -> Measured:
        return Measured(self.fraction, self.loss.mean(-1))

    def of(self, domain: int) -> Measured:
        return Measured(self.fraction, self.loss[..., domain])

    @property
    def error(self) -> float:
        """Mean relative error of the predicted mean over domains, over the measured splits."""
        return float(np.abs(self.predicted.mean(-1) / self.loss.mean((0, -1)) - 1).mean())

    @property
    def error_by_domain(self) -> float:
        """The same of every domain's own loss."""
        return float(np.abs(self.predicted / self.loss.mean(0) - 1).mean())


def curves(study: Study, name: str, rows: Rows, picked: Mapping[str, Any]) -> Curves | None:
    """A setting's measured and predicted losses; None where it is not measured."""
    part = study.setting_part(name, picked["split_fraction"])
    if not rows.has(part):
        return None
    found = {(int(row["seed"]), int(row["d_pretrain"]), int(row["d_special"]), row["domain"]): float(row["loss"])
             for row in rows.of(name)}
    cells = sorted(picked["cells"], key=lambda cell: cell["split"])
    domains = tuple(cells[0]["loss"])
    seeds = study.spec.settings[name].seeds
    loss = [[[found[seed, cell["d_pretrain"], cell["d_special"], domain] for domain in domains] for cell in cells]
            for seed in seeds]
    return Curves(
        domains, np.array([cell["split"] for cell in cells]), np.array(loss),
        np.array([[cell["loss"][domain] for domain in domains] for cell in cells]),
    )


def picked_split(study: Study, name: str, picked: Mapping[str, Any]) -> float:
    """The law's split in whole steps: the fraction that was trained."""
    part = study.setting_part(name, picked["split_fraction"])
    clock = part.clock
    return fraction_of(clock, *clock.split(clock.budget(picked["tokens"]), picked["split_fraction"]))


def trials(study: Study, found: Mapping[str, Curves], picks: Mapping[str, Any]) -> dict[str, Trial]:
    """Every measured setting; the noise of those with one seed is the largest known."""
    known = [each.measured.noise for each in found.values() if not math.isnan(each.measured.noise)]
    return {
        name: trial(each.measured, picked_split(study, name, picks[name]), tuple(picks[name]["interval"]),
                    max(known, default=math.nan) if math.isnan(each.measured.noise) else None)
        for name, each in found.items()
    }


def law_table(records: Mapping[str, Mapping[str, Any]], study: Study) -> str:
    """What was fitted, by law."""
    lines = []
    for name, record in records.items():
        part, held = study.law_part(name), record["held_out"] or {}
        lines.append([
            name, str(part.experts), str(len({n_params(cell.model) for cell in part.cells})), str(len(part.cells)),
            record["family"], percent(record["mre"], 2), percent(held.get("mre", math.nan), 2),
            ", ".join(record.get("weights") or record["near"]),
        ])
    return table(["law", "K", "sizes", "cells", "family", "off on its rows", "off on larger runs held out",
                  "combined, or near it"], lines)


def pick_table(told: Mapping[str, Mapping[str, Any]]) -> str:
    """What the laws said before any setting was measured."""
    lines = [
        [name, each["accounting"], str(each["experts"]), f"{each['n_params']:,}", f"{each['tokens']:,}",
         each["decision"], percent(each["split_fraction"]), _interval(each["interval"]),
         _interval(each["flat_region"]), f"{each['predicted_loss']:.4f}"]
        for name, each in told.items()
    ]
    return table(["setting", "accounting", "K", "N", "T", "decision", "split", "90 % interval", "as good (0.1 %)",
                  "predicted loss"], lines)


def trial_table(study: Study, found: Mapping[str, Curves], picks: Mapping[str, Any]) -> str:
    """The law's split against the measured best, one line a setting, and the best constant fraction."""
    judged = trials(study, found, picks)
    fraction, constant = best_constant({name: each.measured for name, each in found.items()}, study.spec.fractions)
    lines = []
    for name, each in judged.items():
        told, low_high = picks[name], picks[name]["interval"]
        lines.append([
            name, f"{told['n_params']:,}", f"{told['tokens']:,}", percent(found[name].error, 2),
            percent(found[name].error_by_domain, 2), percent(each.picked), _interval(low_high), percent(each.best),
            "yes" if each.contained else "no", percent(each.regret, 2), percent(constant[name], 2),
            f"{each.gain:.4f} ± {each.noise:.4f}", "–" if each.kept is None else percent(each.kept),
        ])
    mean = [
        "mean", "", "", percent(np.mean([each.error for each in found.values()]), 2),
        percent(np.mean([each.error_by_domain for each in found.values()]), 2), "",
        f"width {percent(np.mean([each.width for each in judged.values()]))}", "",
        f"{sum(each.contained for each in judged.values())} of {len(judged)}",
        percent(np.mean([each.regret for each in judged.values()]), 2),
        percent(np.mean(list(constant.values())), 2), "", "",
    ]
    return table(["setting", "N", "T", "predicted loss off", "of a domain", "law's split", "90 % interval",
                  "measured best", "inside", "regret", f"regret of {fraction:.0%} everywhere",
                  "gain of the best over dense and 80/20", "kept"], [*lines, mean])


def rule_table(study: Study, found: Mapping[str, Curves], picks: Mapping[str, Any]) -> str:
    """Regret of the law's split beside that of a constant and of the other rules that the settings name."""
    rules = dict.fromkeys(rule for name in found for rule in study.spec.settings[name].also)
    regrets, lines = [], []
    for name, each in found.items():
        one, also = each.measured, study.spec.settings[name].also
        splits = [picked_split(study, name, picks[name]), CONSTANT, *(also.get(rule, math.nan) for rule in rules)]
        regrets.append([one.regret(split) if one.has(split) else math.nan for split in splits])
        told = ["–" if math.isnan(regret) else f"{percent(regret, 2)} ({percent(split)})"
                for split, regret in zip(splits, regrets[-1], strict=True)]
        least = one.mean.min()
        lines.append([name, percent(one.mean.max() / least - 1, 1), percent(one.noise / least, 2), *told])
    for word, of in (("mean", np.mean), ("most", np.max)):
        known = [column[~np.isnan(column)] for column in np.array(regrets).T]
        lines.append([word, "", "", *(percent(of(column), 2) if len(column) else "–" for column in known)])
    return table(["setting", "spread of the curve", "noise", "law's", f"always {CONSTANT:.0%}", *rules], lines)


def curve_table(found: Mapping[str, Curves]) -> str:
    """Measured and predicted mean loss over the split fraction."""
    lines = [
        [name, percent(f, 1), f"{loss:.4f}", f"{predicted:.4f}", f"{100 * (predicted / loss - 1):+.2f} %"]
        for name, each in found.items()
        for f, loss, predicted in zip(each.fraction, each.measured.mean, each.predicted.mean(-1), strict=True)
    ]
    return table(["setting", "split", "measured", "predicted", "off"], lines)


def rival_table(study: Study, found: Mapping[str, Curves], picks: Mapping[str, Any], rows: Rows) -> str:
    """The planned split against its rivals, nats a token gained, by domain."""
    lines = []
    for name, each in found.items():
        planned = _at(each, picked_split(study, name, picks[name]))
        rivals = {"dense": _at(each, 1.0), "80/20": _at(each, 0.8)}
        rivals |= _against(study, name, picks[name], rows, each.domains)
        for rival, loss in rivals.items():
            gain, split = loss - planned, rival in ("dense", "80/20")  # noise is that of two splits of one seed
            noise = [each.of(k).noise if split else math.nan for k in range(len(each.domains))]
            lines.append([name, rival, f"{gain.mean():+.4f}{_noise(each.measured.noise) if split else ''}",
                          ", ".join(f"{d} {g:+.3f}{_noise(n, 3)}" for d, g, n in zip(each.domains, gain, noise,
                                                                                  strict=True))])
    return table(["setting", "planned split against", "gain, nats a token", "by domain"], lines)


def ablation_table(study: Study, rows: Rows, sizes: Sizes) -> str | None:
    """The splits of each ablation, each domain weighted by its share of the text, so that different K compare."""
    lines = []
    for part in (study.ablation_part(name) for name in study.spec.ablations):
        if rows.has(part):
            whole, plain = measured_of(part, rows, sizes.of(part.name)), measured_of(part, rows)
            losses = ", ".join(f"{f:.0%} {loss:.4f}" for f, loss in zip(whole.fraction, whole.mean, strict=True))
            lines.append([part.name, str(part.experts), percent(whole.best), losses,
                          f"{whole.at(1.0) - whole.mean.min():+.4f}{_noise(whole.noise)}",
                          f"{plain.at(1.0) - plain.mean.min():+.4f}{_noise(plain.noise)}"])
    head = ["ablation", "K", "best split", "loss by split, 100 % dense", "gain over dense", "of the plain mean"]
    return table(head, lines) if lines else None


def measured_of(part: Part, rows: Rows, sizes: Mapping[str, int] | None = None) -> Measured:
    """Mean losses over the splits of a part that is one size and budget; domains weighted by `sizes`, where known."""
    losses: dict[tuple[str, float], list[float]] = {}
    clock = part.clock
    total = sum(sizes.values()) if sizes else 0
    for row in rows.of(part.name):
        steps = (int(row[key]) // clock.tokens_per_step for key in ("d_pretrain", "d_special"))
        share = sizes[row["domain"]] / total if sizes else 1 / part.experts
        losses.setdefault((row["seed"], fraction_of(clock, *steps)), []).append(share * float(row["loss"]))
    seeds, fractions = sorted({seed for seed, _ in losses}), sorted({fraction for _, fraction in losses})
    return Measured(np.array(fractions), np.array([[sum(losses[s, f]) for f in fractions] for s in seeds]))


def _against(
    study: Study, name: str, picked: Mapping[str, Any], rows: Rows, domains: Sequence[str]
) -> dict[str, np.ndarray]:
    """Losses by domain of the dense models of equal FLOPs that are no split of the setting."""
    law, found = study.spec.settings[name].law, {}
    clock = study.law_part(law).clock
    for model, tokens in study.rivals(name, picked["split_fraction"]):
        steps = clock.steps(tokens)
        mine = [row for row in rows.of(f"against-{law}") if _is(row, n_params(model), steps * clock.tokens_per_step)]
        if len(mine) == len(domains):
            same = n_params(model) == picked["n_params"]
            label = f"dense, {'' if same else f'N = {n_params(model):,}, '}{steps * clock.tokens_per_step:,} tokens"
            by_domain = {row["domain"]: float(row["loss"]) for row in mine}
            found[label] = np.array([by_domain[domain] for domain in domains])
    return found


def _is(row: Row, size: int, tokens: int) -> bool:
    return int(row["n_params"]) == size and int(row["d_pretrain"]) == tokens and int(row["d_special"]) == 0


def _at(curves: Curves, fraction: float) -> np.ndarray:
    return curves.loss.mean(0)[int(np.argmin(np.abs(curves.fraction - fraction)))]


def percent(value: Any, digits: int = 0) -> str:
    """A share, for people."""
    return "–" if math.isnan(value) else f"{100 * value:.{digits}f} %"


def _interval(pair: Sequence[float]) -> str:
    return f"{100 * pair[0]:.0f} to {100 * pair[1]:.0f} %"


def _noise(value: float, digits: int = 4) -> str:
    return "" if math.isnan(value) else f" ± {value:.{digits}f}"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])
