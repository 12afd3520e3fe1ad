#!/usr/bin/env python3
"""Mutation testing: mistakes made in the code, one at a time, to see whether a test of the default suite fails.

    tools/mutate.py law reporting/judging --sample 40        40 mistakes in these rooms or folders
    tools/mutate.py splitjax/evaluate/compare.py             every mistake in a file
    tools/mutate.py --sample 200 --seed 3 --jobs 2           200 over the whole package

Mistakes are made in copies of this tree, never in it. A mistake is tried by the tests that import its file, directly
first and through others next, as far as they fit in --limit seconds. Prints a table and what survived, and exits with 1
where fewer than --at-least of the mistakes were caught, with 2 where it was asked for what is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mutation.mutants import Mutant, changed, sample
from mutation.sight import Sight
from mutation.trial import TESTED, Baseline, Copy, Told

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "splitjax"


@dataclass(frozen=True)
class Result:
    """What came of a mistake.

    Attributes:
        caught: whether a test failed, or took far too long.
        how: "failed", "time", "survived", or "no test" where none can see the file.
        before, after: the lines that differ.
        tests: test files that were asked.
        seconds: how long it took.
    """

    mutant: Mutant
    caught: bool
    how: str
    before: str
    after: str
    tests: tuple[str, ...]
    seconds: float

    @property
    def room(self) -> str:
        return Path(self.mutant.path).parts[1]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self.mutant), **{k: v for k, v in asdict(self).items() if k != "mutant"}}


def files_of(root: Path, places: Sequence[str]) -> list[str]:
    """Python files of rooms, folders or files, from the root; of the whole package where none are named.

    Raises:
        FileNotFoundError: no such place.
    """
    found: set[Path] = set()
    for place in places or [PACKAGE]:
        at = next((path for path in (root / place, root / PACKAGE / place) if path.exists()), None)
        if at is None:
            raise FileNotFoundError(f"no room, folder or file '{place}'")
        found.update(at.rglob("*.py") if at.is_dir() else [at])
    return sorted(str(path.resolve().relative_to(root.resolve())) for path in found)


class Bench:
    """Copies of a tree, the tests that can see its files, and what these do where nothing is wrong."""

    def __init__(self, root: Path, place: Path, jobs: int, limit: float) -> None:
        self.root, self.limit, self.sight = root, limit, Sight(root)
        self.copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        self.baseline = Baseline(Copy.of(root, place / "whole"))
        self.all = [Copy.of(root, place / f"copy{i}") for i in range(jobs)]
        for copy in self.all:
            self.copies.put(copy)
        self.one = threading.Lock()

    def end(self) -> None:
        """End whatever runs."""
        for copy in (self.baseline.copy, *self.all):
            copy.end()

    def tried(self, mutant: Mutant, source: str) -> Result:
        """A mistake, by the tests that can see its file."""
        with self.one:  # whoever comes second finds what the first has measured
            tests = self.baseline.chosen(self.sight.of(mutant.path), self.limit)
        told = Told(0, "", 0.0)
        if tests:
            copy = self.copies.get()
            try:
                told = copy.tried(mutant.path, source, tests, self.baseline.failing, self.baseline.given(tests))
            finally:
                self.copies.put(copy)
        how = "time" if told.code is None else "failed" if told.code not in TESTED else "survived"
        lines = changed((self.root / mutant.path).read_text(encoding="utf-8"), source)
        return Result(mutant, how in ("time", "failed"), how if tests else "no test", *lines, tuple(tests),
                      round(told.seconds, 1))


def told(results: Sequence[Result]) -> str:
    """A table by room, and what survived."""
    lines = [f"{'room':<12}{'mistakes':>10}{'caught':>8}{'survived':>10}{'share':>8}"]
    for room in [*sorted({each.room for each in results}), ""]:
        of = [each for each in results if room in ("", each.room)]
        caught = sum(each.caught for each in of)
        lines.append(f"{room or 'all':<12}{len(of):>10}{caught:>8}{len(of) - caught:>10}{caught / len(of):>8.0%}")
    for each in results:
        if not each.caught:
            m = each.mutant
            lines += ["", f"{m.path}:{m.line} survived {len(each.tests)} test files ({m.operator})",
                      f"  - {each.before}", f"  + {each.after}"]
    return "\n".join(lines)


def _tried(bench: Bench, drawn: Sequence[tuple[Mutant, str]], jobs: int) -> Iterator[Result]:
    """What comes of each, in turn; when interrupted, what runs is ended and no other begun."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for count, one in enumerate(pool.map(lambda pair: bench.tried(*pair), drawn), 1):
                m = one.mutant
                print(f"{count}/{len(drawn)} {one.how} {m.path}:{m.line} {m.operator} ({one.seconds:.0f} s)",
                      file=sys.stderr, flush=True)
                yield one
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            bench.end()
            raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", help="rooms, folders or files (the whole package)")
    parser.add_argument("--sample", type=int, help="so many mistakes, drawn at random (all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    parser.add_argument("--jobs", type=int, default=1, help="mistakes tried at once (1)")
    parser.add_argument("--limit", type=float, default=180.0, help="seconds of tests for a mistake (180)")
    parser.add_argument("--at-least", type=float, default=0.85, help="share that must be caught (0.85)")
    parser.add_argument("--out", type=Path, help="JSON of every mistake and what came of it")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        drawn, every = sample(args.root, files_of(args.root, args.places), args.sample, args.seed)
    except FileNotFoundError as error:
        print(f"mutate: {error}", file=sys.stderr)
        return 2
    if not drawn:
        print("mutate: there is no mistake to make in these files", file=sys.stderr)
        return 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutate-") as place:
        bench = Bench(args.root, Path(place), args.jobs, args.limit)
        results = list(_tried(bench, drawn, args.jobs))
    share = sum(each.caught for each in results) / len(results)
    print(told(results))
    if bench.baseline.failing:
        print(f"\nNot asked, for they fail where nothing is wrong: {', '.join(bench.baseline.failing)}")
    if args.out:
        record = {"seed": args.seed, "of": every, "share": share, "at_least": args.at_least, "jobs": args.jobs,
                  "limit": args.limit, "seconds": round(time.monotonic() - began), "cores": os.cpu_count(),
                  "mistakes": [each.to_json() for each in results], "failing": bench.baseline.failing}
        args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0 if share >= args.at_least else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
