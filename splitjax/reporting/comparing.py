"""Runs side by side: the settings that differ, what each found, and over training seeds with standard errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitjax.config import Shown, UserError, load, read_json
from splitjax.evaluate import mean_and_error
from splitjax.runs.plan_record import read_plan
from splitjax.runs.run_folder import RunFolder

from .judging.measured_edges import Edge, champion, edge, one_model, routed_loss
from .number_text import figure
from .sections import Section, line
from .verdict import Verdict, judge

OWN = ("run_dir", "name", "seed", "trackers", "sweep", "split", "law")
"""Settings in which repetitions of one run may differ: where it was split is measured, whoever chose it."""
SHORT = {"split": "Split", "one_model": "Do not split", "no_difference": "No difference", "unknown": "Unknown"}


@dataclass(frozen=True)
class Seen:
    """One run that is compared."""

    path: str
    settings: Mapping[str, Any]
    plan: Mapping[str, Any]
    results: Mapping[str, Any]
    verdict: Verdict

    @property
    def figures(self) -> dict[str, float | None]:
        """What can be averaged over seeds; None where it was not measured."""
        models = self.results["models"]
        losses = {name: routed_loss(self.results, name) if name in models else None
                  for name in ("planned", "dense", "dense_equal_compute", "80/20")}
        costs = self.results["costs"]
        return {
            "planned split (%)": 100 * models["planned"]["fraction"],
            **{name: None if one is None else -one.value for name, one in self._edges.items()},
            **{f"test loss, {name.replace('_', ' ')}": loss for name, loss in losses.items()},
            "FLOPs, planned model": costs["planned_flops"], "FLOPs, sweep": costs["sweep"]["flops"],
        }

    @property
    def errors(self) -> dict[str, float]:
        """Standard errors over test windows of the figures that have one."""
        return {name: one.error for name, one in self._edges.items() if one is not None}

    @property
    def seed_errors(self) -> dict[str, float]:
        """The same over the run's own training seeds; {} where it has one."""
        return {name: one.over_seeds for name, one in self._edges.items() if one and one.over_seeds is not None}

    @property
    def _edges(self) -> dict[str, Edge | None]:
        """Figure → the experts over another model; None where that is themselves, or was not measured."""
        best = champion(self.results) or "planned"
        rivals = {"one model": one_model(self.results), "80/20": "80/20"}
        return {f"experts against {told} (%)": None if name == best else edge(self.results, best, name)
                for told, name in rivals.items()}


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Runs side by side.

    Attributes:
        seen: the runs, as they were named.
        differ: setting → its value in each run, of those that differ.
        seeds: runs that are one but for the training seed, by their places; groups of two and more.
        notes: what a reader must know, one sentence each.
    """

    seen: tuple[Seen, ...]
    differ: Mapping[str, list[Any]]
    seeds: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Short names of the runs, no two alike."""
        short = [Path(each.path).name for each in self.seen]
        return [each.path for each in self.seen] if len(set(short)) < len(short) else short

    def over_seeds(self) -> list[dict[str, Any]]:
        """Of each group: its runs, and figure → (mean, standard error over seeds)."""
        found = []
        for group in self.seeds:
            means = {}
            for name in (name for name in self.seen[group[0]].figures if not name.startswith("FLOPs")):
                values = [value for i in group if (value := self.seen[i].figures[name]) is not None]
                if len(values) == len(group):
                    means[name] = mean_and_error(values)
            found.append({"runs": [self.names[i] for i in group], "figures": means})
        return found

    def to_json(self) -> dict[str, Any]:
        """What `splitjax compare --json` prints."""
        runs = [
            {"run": each.path, "verdict": each.verdict.to_json(), "figures": each.figures, "errors": each.errors,
             "seed_errors": each.seed_errors}
            for each in self.seen
        ]
        return {"runs": runs, "settings": dict(self.differ), "seeds": self.over_seeds(), "notes": list(self.notes)}

    def sections(self) -> list[Section]:
        """For the terminal and the page: a column a run."""
        head = ("", *self.names)
        settings = [line(key, [_plain(value) for value in values]) for key, values in self.differ.items()]
        found = [line("answer", [SHORT[each.verdict.answer] for each in self.seen]),
                 line("best split (%)", [_span(each.verdict) for each in self.seen])]
        for name in self.seen[0].figures:
            cells = [_cell(name, each.figures[name], each.errors.get(name), each.seed_errors.get(name))
                     for each in self.seen]
            if any(cell != "–" for cell in cells):
                found.append(line(name, cells))
        note = " ".join(("Routed, on test text. Experts against others: by how much their perplexity is higher (+) or "
                         "lower (−), ± one standard error over windows, a second ± over a run's own training seeds.",
                         *self.notes))
        made = [Section("Settings that differ", ("setting", *self.names), tuple(settings))] if settings else []
        made.append(Section("What each run found", head, tuple(found), note=note))
        for group in self.over_seeds():
            rows = [line(name, [_cell(name, *pair)]) for name, pair in group["figures"].items()]
            made.append(Section(
                f"Over {len(group['runs'])} training seeds", ("", "mean ± standard error over seeds"), tuple(rows),
                note=f"Runs: {', '.join(group['runs'])}.",
            ))
        return made

    def _headline(self) -> str:
        return f"Comparison: {len(self.seen)} runs, {len(self.differ)} settings differ"

    def _columns(self) -> dict[str, list[Any]]:
        told = [each.figures for each in self.seen]
        answers = [each.verdict.answer for each in self.seen]
        return {"run": self.names, "answer": answers, **{name: [each[name] for each in told] for name in told[0]}}


def compare(runs: Sequence[str | os.PathLike[str]]) -> Comparison:
    """Compare evaluated runs.

    Args:
        runs: their folders, two or more.

    Raises:
        UserError: fewer than two, one of them twice, no run there, or not evaluated.
    """
    paths = [Path(run) for run in runs]
    if len(paths) < 2:
        raise UserError("one run cannot be compared", where="splitjax compare", mend="Give two or more.")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("a run is given twice", where="splitjax compare")
    seen, data = zip(*map(_seen, paths), strict=True)
    keys = dict.fromkeys(key for each in seen for key in each.settings)
    columns = {key: [each.settings.get(key) for each in seen] for key in keys if key not in ("run_dir", "name")}
    differ = {key: values for key, values in columns.items() if any(value != values[0] for value in values)}
    notes = () if len(set(data)) == 1 else ("The runs were prepared from different data or tokenizers: their losses "
                                            "are not of the same text.",)
    return Comparison(seen, differ, _repetitions(seen), notes)


def _seen(path: Path) -> tuple[Seen, str]:
    """A run, and the hash of its data."""
    folder = RunFolder(path)
    if not folder.config.exists():
        raise UserError("no such run", where=str(path), mend="Give folders that 'splitjax run' made.")
    folder.need("evaluate")
    plan, results = read_plan(folder), read_json(folder.results)
    manifest = read_json(folder.data / "manifest.json")["hash"]
    return Seen(str(path), _flat(load(folder.config).resolved()), plan, results, judge(plan, results)), manifest


def _repetitions(seen: Sequence[Seen]) -> tuple[tuple[int, ...], ...]:
    """Runs that differ in nothing but their seeds. Their data differ in what is held out."""
    groups: dict[str, list[int]] = {}
    for index, each in enumerate(seen):
        same = {key: value for key, value in each.settings.items() if key.partition(".")[0] not in OWN}
        same["split at"] = round(each.results["models"]["planned"]["fraction"], 3)
        groups.setdefault(repr(sorted(same.items(), key=str)), []).append(index)
    distinct = [group for group in groups.values() if len({seen[i].settings["seed"] for i in group}) == len(group)]
    return tuple(tuple(group) for group in distinct if len(group) > 1)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping) and tree:
        return {k: v for key, item in tree.items() for k, v in _flat(item, f"{prefix}{key}.").items()}
    return {prefix[:-1]: tree}


def _plain(value: Any) -> str:
    return "–" if value is None else str(value)


def _span(found: Verdict) -> str:
    return "–" if found.low is None or found.high is None else f"{100 * found.low:.0f} to {100 * found.high:.0f}"


def _cell(name: str, value: float | None, *errors: float | None) -> str:
    if value is None:
        return "–"
    forms: dict[str, Callable[[float], str]] = {"FLOPs": lambda x: f"{x:.3g}", "test": lambda x: figure(x, ".4f"),
                                                "planned": lambda x: f"{x:.1f}"}
    form = forms.get(name.replace(",", "").split()[0], lambda x: f"{x:+.1f}".replace("-", "−"))
    return form(value) + "".join(f" ± {form(error).lstrip('+')}" for error in errors if error is not None)

