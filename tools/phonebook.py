#!/usr/bin/env python3
"""Phone books that one model cannot hold: at which split are they memorised, and does the law know it before?

    python tools/phonebook.py --jobs 2
    python tools/phonebook.py --from docs/study/phonebook/rows.csv

Strings together `splitjax prepare`, `sweep` and `fit` on configs/phonebook*.yaml. Prints tokens and minutes first, then
works through the parts that have no rows yet: the law's small runs, then under either accounting the curve, for which
the law names its splits before any of it is trained. Rows of finished parts stay in rows.csv and the law's splits in
picks.json; with --from those of another clone count too. A part that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from splitjax import law  # noqa: E402
from splitjax.config import (  # noqa: E402
    Config,
    UserError,
    did_you_mean,
    format_count,
    load,
    read_json,
    tokens_of,
    write_atomic,
    write_json,
)
from splitjax.data.tokenizing.choice import given  # noqa: E402
from splitjax.law import LawFit, Table  # noqa: E402
from splitjax.model import n_params  # noqa: E402
from splitjax.planning.run_costs import sweep_work  # noqa: E402
from splitjax.runs.cells import Clock  # noqa: E402
from splitjax.runs.phase_tree import Cell, Phase, grow, tokens_trained  # noqa: E402
from splitjax.runs.phase_work import work_of  # noqa: E402
from splitjax.runs.sweeping import law_splits, observations  # noqa: E402
from splitjax.runs.sweeping.sweep_cells import sweep_cells  # noqa: E402
from splitjax.runs.workers.attempts import SweepError  # noqa: E402
from splitjax.stages import sequence  # noqa: E402
from splitjax.stages.commands import job_of  # noqa: E402

PARTS = {"law": "phonebook.yaml", "total": "phonebook_total.yaml", "per_model": "phonebook_per_model.yaml"}
COLUMNS = ("part", *observations.COLUMNS, "questions", "exact_match")
WORK_A_SECOND = 1.3e11
"""Units of `work_of` that a core does, compilation and saves included: of the law's part on an AMD EPYC."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A sweep that is trained in one go and whose rows are kept together."""

    name: str
    config: Config
    picks: Sequence[Mapping[str, Any]] | None
    """What the law named for it (rows of splits.json); None: it asks no law, or the law has not been asked."""

    @property
    def asks_law(self) -> bool:
        return self.config.sweep is not None and self.config.sweep.asks_law

    @cached_property
    def clock(self) -> Clock:
        return Clock.of(self.config, sum(source.books for source in self.config.data.sources))

    @cached_property
    def cells(self) -> list[Cell]:
        """Its cells; before the law has named its splits, one at half stands for each."""
        named = {(row["n_params"], row["tokens"]): row["split_fraction"] for row in self.picks or ()}
        return sweep_cells(self.config, self.clock, lambda model, tokens: named.get((n_params(model), tokens), 0.5))

    @cached_property
    def phases(self) -> list[Phase]:
        return grow(self.cells, self.config.train.decay_share)

    @property
    def tokens(self) -> int:
        return tokens_trained(self.phases, self.clock.experts, self.clock.tokens_per_step)

    def minutes(self, jobs: int) -> float:
        """That its training should take with `jobs` phases at a time, each on a core."""
        tokenizer = given(self.config.data.tokenizer)
        assert tokenizer is not None
        work = work_of(self.phases, self.config, self.clock.experts, tokenizer.vocab_size)
        return work / WORK_A_SECOND / jobs / 60

    def done(self, rows: Iterable[Row]) -> bool:
        """Whether every cell has its rows, and what the law named is known."""
        found = [row["run"] for row in rows if row["part"] == self.name]
        return (self.picks is not None or not self.asks_law) and all(
            found.count(cell.id) == self.clock.experts for cell in self.cells
        )


class Study:
    """Rows and picks on disk, and the training that adds to them.

    Args:
        configs: folder of the three config files.
        out: where everything goes.
    """

    def __init__(self, configs: Path, out: Path, jobs: int) -> None:
        self.configs, self.out, self.jobs = configs, out, jobs
        self.rows = _read(self.table) if self.table.exists() else []
        self.picks: dict[str, Any] = read_json(self.named) if self.named.exists() else {}

    @property
    def table(self) -> Path:
        return self.out / "rows.csv"

    @property
    def named(self) -> Path:
        return self.out / "picks.json"

    @property
    def law(self) -> Path:
        return self.out / "law.json"

    def take(self, source: Path) -> None:
        """The rows of parts that have none here, with the picks beside them."""
        here = {row["part"] for row in self.rows}
        self._keep([*self.rows, *(row for row in _read(source) if row["part"] not in here)])
        beside = source.with_name(self.named.name)
        if beside.exists():
            self.picks = {**read_json(beside), **self.picks}
            write_json(self.named, self.picks)

    def part(self, name: str) -> Part:
        overrides = [f"run_dir={self.out / name}"]
        if name != "law":
            overrides.append(f"sweep.law={self.law}")
        return Part(name, load(self.configs / PARTS[name], overrides), self.picks.get(name))

    def parts(self) -> list[Part]:
        return [self.part(name) for name in PARTS]

    def do(self, name: str) -> None:
        """Train a part and keep its rows; a curve only after the law has named its splits."""
        part = self.part(name)
        if part.done(self.rows):
            return
        if part.asks_law:
            self._fit()
        with job_of(part.config, jobs=self.jobs, command=f"tools/phonebook.py --part {name}") as job:
            sequence.run_prepare(job)
            if part.asks_law:
                law_splits.fix(job.config, job.clock, job.folder)
                self.picks[name] = law_splits.listed(job.config, job.clock, job.folder)
                write_json(self.named, self.picks)
                print("\n".join(named_lines(name, self.picks[name])), flush=True)
            job.reporter.plan_work(*sweep_work(job))
            sequence.run_sweep(job, self.jobs)
            told = {(row["run"], row["domain"]): row for row in _read(job.folder.answers)}
            fresh = [{"part": name, **told[row["run"], row["domain"]], **row} for row in _read(job.folder.observations)]
        self._keep([*(row for row in self.rows if row["part"] != name), *fresh])

    def _fit(self) -> None:
        """law.json from the rows of the law's part, unless it is there.

        Raises:
            UserError: that part is not done.
        """
        part = self.part("law")
        if not part.done(self.rows):
            raise UserError("the law's small runs are not done", where=str(self.table), mend="Run --part law first.")
        table = Table.from_rows([_for_law(row) for row in self.rows if row["part"] == "law"])
        if self.law.exists() and LawFit.load(self.law).table.hash == table.hash:
            return
        settings, families = part.config.law, part.config.law.families
        law.fit(
            table, family=families[0] if len(families) == 1 else list(families), loss=settings.loss,
            bootstrap=settings.bootstrap, seed=part.config.seed,
        ).save(self.law)

    def _keep(self, rows: Sequence[Row]) -> None:
        self.rows = sorted(rows, key=lambda row: (list(PARTS).index(row["part"]), row["run"], row["domain"]))
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomic(self.table, text.getvalue())


@dataclass(frozen=True)
class Point:
    """The seeds of one (N, T, split).

    Attributes:
        fraction: D/T.
        exact: share of all books' numbers, by seed.
        worst: of the book that is remembered least, by seed.
        loss: mean over books, nats a token, by seed.
    """

    fraction: float
    exact: tuple[float, ...]
    worst: tuple[float, ...]
    loss: tuple[float, ...]


def points(part: Part, rows: Iterable[Row]) -> dict[tuple[int, int], list[Point]]:
    """(N, T) → its points by fraction, from the rows of a finished part."""
    by_run: dict[str, list[Row]] = {}
    for row in rows:
        if row["part"] == part.name:
            by_run.setdefault(row["run"], []).append(row)
    seeds: dict[tuple[int, int, int], list[list[Row]]] = {}
    share, quantum = part.clock.share, part.clock.tokens_per_step
    for cell in part.cells:
        steps = cell.pretrain + share * cell.special
        seeds.setdefault((n_params(cell.model), steps * quantum, cell.pretrain * quantum), []).append(by_run[cell.id])
    found: dict[tuple[int, int], list[Point]] = {}
    for (size, tokens, pretrain), runs in sorted(seeds.items()):
        exact = [[float(row["exact_match"]) for row in run] for run in runs]
        found.setdefault((size, tokens), []).append(Point(
            pretrain / tokens, tuple(map(statistics.mean, exact)), tuple(map(min, exact)),
            tuple(statistics.mean(float(row["loss"]) for row in run) for run in runs),
        ))
    return found


def tables(study: Study) -> list[str]:
    """Lines for each finished curve: exact match and loss at every split, with what the law named."""
    lines: list[str] = []
    for part in study.parts():
        if not part.asks_law or not part.done(study.rows):
            continue
        lines += ["", *named_lines(part.name, part.picks or ())]
        for (size, tokens), line in points(part, study.rows).items():
            lines += ["", f"{part.name}: N = {size:,}, T = {format_count(tokens)}",
                      f"  {'D/T':>6}{'exact match':>20}{'worst book':>13}{'loss':>18}"]
            lines += [
                f"  {100 * point.fraction:>5.1f}%{_spread(point.exact, 100, 1):>18} %{100 * min(point.worst):>11.1f} %"
                f"{_spread(point.loss, 1, 4):>18}" for point in line
            ]
    return lines


def named_lines(name: str, picks: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the law named, before the curve was trained."""
    return [
        f"{name}: the law names {100 * row['split_fraction']:.1f} % of T = {format_count(row['tokens'])} "
        f"({row['decision']}, 90 % interval {100 * row['interval'][0]:.0f} to {100 * row['interval'][1]:.0f} %, "
        f"{row['family']})" for row in picks
    ]


def draw(study: Study, path: Path) -> None:
    """Exact match over the split, a panel for each accounting and T; the law's split and interval behind it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [
        (part, tokens, line, {s: each for (s, t), each in points(part, study.rows).items() if t == tokens and s > size})
        for part in study.parts() if part.asks_law and part.done(study.rows)
        for (size, tokens), line in points(part, study.rows).items() if len(line) > 1
    ]
    if not panels:
        return
    figure, axes = pyplot.subplots(1, len(panels), figsize=(3.2 * len(panels), 2.9), sharey=True, squeeze=False)
    for axis, (part, tokens, line, larger) in zip(axes[0], panels, strict=True):
        for row in part.picks or ():
            if part.clock.budget(tokens_of(row["tokens"], 0)) * part.clock.tokens_per_step == tokens:
                axis.axvspan(*row["interval"], color="tab:orange", alpha=0.15, lw=0)
                axis.axvline(row["split_fraction"], color="tab:orange", label="named by the law")
        at = [point.fraction for point in line]
        axis.plot(at, [statistics.mean(point.exact) for point in line], color="tab:blue", lw=1)
        for point in line:
            axis.plot([point.fraction] * len(point.exact), point.exact, "o", ms=3, color="tab:blue")
        for size, (dense, *_) in larger.items():
            exact = statistics.mean(dense.exact)
            axis.axhline(exact, color="grey", ls=":", label=f"dense, N = {format_count(size)}")
        axis.set_title(f"{part.name}, T = {format_count(tokens)}", fontsize=9)
        axis.set_xlabel("D/T", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=6, loc="best")
    axes[0][0].set_ylabel("numbers remembered", fontsize=8)
    axes[0][0].set_ylim(-0.03, 1.03)
    figure.tight_layout()
    figure.savefig(path, dpi=90, metadata={"Software": ""})
    pyplot.close(figure)


def _spread(values: Sequence[float], scale: float, digits: int) -> str:
    """Mean and standard deviation over the seeds."""
    noise = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{scale * statistics.mean(values):.{digits}f} ± {scale * noise:.{digits}f}"


def _for_law(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in observations.COLUMNS if key != "n_params_total"}


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"no table ({error.strerror})", where=str(path)) from None
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values() or row.get("part", "law") not in PARTS:
            raise UserError("not a row of this study", where=f"{path}:{number}")
    return rows


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", metavar="NAME", help=f"only this one of {', '.join(PARTS)}")
    parser.add_argument("--from", dest="source", type=Path, metavar="TABLE.csv", help="go on from these rows")
    parser.add_argument("--out", type=Path, default=Path("runs/phonebook_study"), metavar="FOLDER",
                        help="where rows, picks, picture and run folders go")
    parser.add_argument("--configs", type=Path, default=ROOT / "configs", metavar="FOLDER", help="of the configs")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="phases to train at a time")
    parser.add_argument("--dry-run", action="store_true", help="print what it costs and what is known; train nothing")
    return parser


def run(args: argparse.Namespace) -> None:
    for name in args.part or ():
        if name not in PARTS:
            raise UserError(f"no part '{name}'", where="--part", mend=did_you_mean(name, PARTS))
    study = Study(args.configs, args.out, args.jobs)
    if args.source:
        study.take(args.source)
    for part in study.parts():
        left = "done" if part.done(study.rows) else f"about {part.minutes(args.jobs):.0f} minutes"
        print(f"{part.name:<10}{len(part.cells):>4} cells  {format_count(part.tokens):>7} tokens  {left}", flush=True)
    if not args.dry_run:
        for name in args.part or PARTS:
            study.do(name)
    print("\n".join(tables(study)))
    draw(study, args.out / "phonebook.png")


def main(words: Sequence[str] | None = None) -> int:
    try:
        run(_arguments().parse_args(words))
    except UserError as error:
        print(f"phonebook: {error}", file=sys.stderr)
        return 2
    except SweepError as error:
        print(f"phonebook: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
