"""A sweep in lanes beside the same sweep phase by phase: wall time, share of it in steps, and how far losses differ.

    python tools/bench_lanes.py configs/demo_quick.yaml --rounds 2

Data are prepared once; the two forms take turns, in a process each, after one run that fills the cache of compiled
programs. Prints a line a run and the median ratio.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import splitjax

FORMS = ("lanes", "one by one")
_SWEEP = """
import sys
from splitjax import cli
from splitjax.runs.executor import Executor
if sys.argv[1] == "one by one":
    Executor.together = False
sys.exit(cli.main(["sweep", *sys.argv[2:]]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, ratios = Path(temporary), []
        words = [args.config, *args.overrides]
        splitjax.prepare(splitjax.load(words[0], [*words[1:], f"run_dir={folder / 'prepared'}"]))
        swept(folder, FORMS[0], words, "warm")
        for at in range(args.rounds):
            turns = FORMS if at % 2 else FORMS[::-1]
            walls = {form: swept(folder, form, words, f"{form} {at}") for form in turns}
            ratios.append(walls["one by one"] / walls["lanes"])
        tables = [losses(folder / f"{form} 0") for form in FORMS]
        print(f"one by one / lanes: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
              f"losses differ by {max(abs(tables[0][key] - tables[1][key]) for key in tables[0]):.1e} at most")


def swept(folder: Path, form: str, words: list[str], name: str) -> float:
    """Seconds of one sweep, from the start of its process to its end."""
    run = folder / name
    shutil.copytree(folder / "prepared", run)
    began = time.monotonic()
    command = [sys.executable, "-c", _SWEEP, form, *words, f"run_dir={run}"]
    programs = os.environ | {"SPLITJAX_CACHE": str(folder / "cache")}
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=programs)
    wall, spent = time.monotonic() - began, Counter[str]()
    for line in (run / "times.jsonl").read_text().splitlines():
        spent.update(json.loads(line)["seconds"])
    size = sum(path.stat().st_size for path in run.glob("phases/**/*") if path.is_file())
    rest = ", ".join(f"{cause} {spent[cause]:.1f}" for cause in sorted(spent, key=lambda cause: -spent[cause]))
    print(f"{name}: {wall:.1f} s ({rest}), {size / 1e6:.1f} MB of phases", flush=True)
    return wall


def losses(run: Path) -> dict[tuple[str, str], float]:
    with open(run / "observations.csv", newline="") as file:
        return {(row["run"], row["domain"]): float(row["loss"]) for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
