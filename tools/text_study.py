#!/usr/bin/env python3
"""Does splitting pay, and does the law know where? Small runs, a law, its picks, then the curves that test them.

    python tools/text_study.py configs/text_study_quick.yaml
    python tools/text_study.py configs/text_study.yaml data.sources.0.path="$CORPUS/*.jsonl.gz" --part labels --jobs 2

Prints tokens, FLOPs and hours first. Works through the parts that have no rows yet, or those named with --part: law
sweeps, then settings (each after its law has picked), then the dense rivals and the ablations. Rows of finished parts
are kept in observations.csv, the sizes of their domains in sizes.json, picks in picks.LAW.json; with --from a fresh
clone goes on from them. A part that was
interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from study import costs, picks, verdict  # noqa: E402
from study.rows import Rows, Sizes  # noqa: E402
from study.spec import Part, Study, read_spec  # noqa: E402

from splitjax.config import UserError, did_you_mean  # noqa: E402
from splitjax.model import n_params  # noqa: E402
from splitjax.planning.run_costs import sweep_work  # noqa: E402
from splitjax.runs.workers.attempts import SweepError  # noqa: E402
from splitjax.stages import sequence  # noqa: E402
from splitjax.stages.commands import job_of  # noqa: E402

LEAST = 60
"""Minutes above which a part is said to be long."""


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file: recipe, the law's sweep, and the size of the settings (model)")
    parser.add_argument("overrides", nargs="*", metavar="dotted.key=value", help="settings that replace the file's")
    parser.add_argument("--settings", type=Path, metavar="FILE",
                        help="laws, settings, ablations (docs/study/NAME/settings.yaml)")
    parser.add_argument("--part", action="append", metavar="NAME", help="only this part; may be given again")
    parser.add_argument("--from", dest="source", type=Path, metavar="TABLE.csv",
                        help="go on from these rows, and from the picks beside them")
    parser.add_argument("--out", type=Path, metavar="FOLDER",
                        help="where rows, picks and the picture go (the run_dir of the config)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="phases to train at a time")
    parser.add_argument("--hindsight", action="store_true",
                        help="tell also what every family would have picked, fitted anew")
    parser.add_argument("--dry-run", action="store_true", help="print what it costs and what is known; train nothing")
    return parser


def main(words: list[str] | None = None) -> int:
    args = arguments().parse_intermixed_args(words)
    try:
        _run(args)
    except UserError as error:
        print(f"text_study: {error}", file=sys.stderr)
        return 2
    except SweepError as error:
        print(f"text_study: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _run(args: argparse.Namespace) -> None:
    base = Study(args.config, args.overrides, read_spec(args.settings or _settings_of(args)))
    work = Work(base, args.out or base.folder, args.jobs)
    work.take(args.source)
    parts = base.parts(work.splits)
    chosen = _chosen(parts, args.part)
    for part in parts:
        if part.name in chosen:
            work.refuse_too_early(part, chosen)
    done = [part.name for part in parts if work.rows.has(part)]
    small = min((cell.model for cell in parts[0].cells), key=n_params)
    rate = costs.Measured(parts[0], [small, base.base.model]) if set(chosen) - set(done) else None
    told = [costs.cost_of(part, rate if part.name not in done else None) for part in parts]
    print(costs.cost_table(told, done), flush=True)
    for each in told:
        if each.hours * 60 > LEAST and each.part.name not in done:
            print(f"{each.part.name} is longer than {LEAST} minutes; it may be interrupted and goes on.", flush=True)
    if not args.dry_run:
        for name in chosen:
            work.do(name)
    work.tell(args.hindsight)


def _settings_of(args: argparse.Namespace) -> Path:
    from splitjax.config import load

    return ROOT / "docs" / "study" / load(args.config, args.overrides).name / "settings.yaml"


def _chosen(parts: list[Part], asked: list[str] | None) -> list[str]:
    names = [part.name for part in parts]
    for name in asked or []:
        if name not in names:
            raise UserError(f"no part '{name}'", where="--part", mend=did_you_mean(name, names))
    return [name for name in names if not asked or name in asked]


class Work:
    """Rows and picks on disk, and the training that adds to them."""

    def __init__(self, study: Study, out: Path, jobs: int) -> None:
        self.study, self.out, self.jobs = study, out, jobs
        self.path = out / "observations.csv"
        self.rows = Rows.read(self.path) if self.path.exists() else Rows()
        self.sizes = Sizes(out / "sizes.json")
        self.records: dict[str, dict[str, Any]] = {}

    def take(self, source: Path | None) -> None:
        """Rows of another table, picks beside it; then the picks that are on disk."""
        if source is not None:
            self.rows.take(Rows.read(source))
            for path in [*source.parent.glob("picks.*.json"), source.parent / "sizes.json"]:
                if path.exists() and not (self.out / path.name).exists():
                    self.out.mkdir(parents=True, exist_ok=True)
                    (self.out / path.name).write_bytes(path.read_bytes())
        for law in self.study.spec.laws:
            if self.rows.has(self.study.law_part(law)):
                self.records[law] = picks.pick(self.study, law, self.rows, self.out)

    @property
    def told(self) -> dict[str, dict[str, Any]]:
        """What the laws said of each setting."""
        return {name: told for record in self.records.values() for name, told in record["settings"].items()}

    @property
    def splits(self) -> dict[str, float]:
        return {name: told["split_fraction"] for name, told in self.told.items()}

    def refuse_too_early(self, part: Part, before: Sequence[str] = ()) -> None:
        """Raise UserError where no law has picked for this part, nor will one of the parts `before` it."""
        law = self.study.spec.settings[part.name].law if part.kind == "setting" else part.name.removeprefix("against-")
        if part.kind in ("setting", "against") and law not in self.records and law not in before:
            raise UserError(f"{part.name} waits for the picks of the law {law}", mend=f"First --part {law}.")

    def do(self, name: str) -> None:
        """Train a part that has no rows yet, and keep its rows; a law then picks at once."""
        part = next(part for part in self.study.parts(self.splits) if part.name == name)
        self.refuse_too_early(part)
        if self.rows.has(part):
            return
        start = time.monotonic()
        with job_of(part.config, redo="sweep", jobs=self.jobs, command="tools/text_study.py") as job:
            sequence.run_prepare(job)
            if len(job.corpus.domains) != part.experts:
                raise UserError(f"{len(job.corpus.domains)} domains, not {part.experts}", where="data.domains.k")
            self.sizes.put(name, job.corpus.manifest.sizes_by_domain)
            job.reporter.plan_work(*sweep_work(job))
            sequence.run_sweep(job, self.jobs)
            found = _read(job.folder.observations)
        self.rows.replace(name, found)
        self.rows.write(self.path)
        print(f"{name}: {len(found)} rows, {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
        if part.kind == "law":
            self.records[name] = picks.pick(self.study, name, self.rows, self.out)

    def tell(self, hindsight: bool = False) -> None:
        """Every table that the rows at hand allow, and the picture."""
        study, told = self.study, self.told
        found = {name: curve for name in study.spec.settings
                 if name in told and (curve := verdict.curves(study, name, self.rows, told[name]))}
        if self.records:
            print("\n" + verdict.law_table(self.records, study))
            print("\n" + verdict.pick_table(told))
        if found:
            print("\n" + verdict.trial_table(study, found, told))
            print("\n" + verdict.rule_table(study, found, told))
            print("\n" + verdict.curve_table(found))
            print("\n" + verdict.rival_table(study, found, told, self.rows))
            from study.drawing import draw

            draw(found, told, self.out / "curves.png")
        if found and hindsight:
            from study.hindsight import hindsight_table

            print("\n" + hindsight_table(study, found, self.rows))
        if ablations := verdict.ablation_table(study, self.rows, self.sizes):
            print("\n" + ablations)


def _read(path: Path) -> list[dict[str, str]]:
    import csv

    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(main())
