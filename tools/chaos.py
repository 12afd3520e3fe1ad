#!/usr/bin/env python3
"""What happens to a run when it is killed, stopped, moved or damaged, or when its disk is full or read-only.

    tools/chaos.py kills      SIGKILL at random moments of whole runs
    tools/chaos.py flips      flipped bits and cut files of every kind in a run folder
    tools/chaos.py stop       SIGSTOP or SIGKILL of one of four processes in the middle of training
    tools/chaos.py disk       a disk that fills up in the middle of a run (mounts a tmpfs: as root)
    tools/chaos.py readonly   run, phase and data folders that are read-only (mounts them: as root)
    tools/chaos.py hosts      a run interrupted on 1, 2 or 4 processes goes on with 1, 2 or 4
    tools/chaos.py all        every one of them

Works in a temporary folder, prints counts, and exits with 1 where something was lost or changed without a word.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from faults import mounts  # noqa: E402

from splitjax.runs import provenance  # noqa: E402

FAULTS = {
    "kills": ("kills.kill_runs", 100),
    "flips": ("flips.flip_run", 500),
    "stop": ("stops.stop_runs", 9),
    "disk": ("full.fill_runs", 12),
    "readonly": ("full.lock_runs", 16),
    "hosts": ("moved.move_runs", 9),
}
"""Where each fault is, and how many of it by default."""
MOUNTS = ("disk", "readonly")
NEEDS_ROOT = "needs the right to mount a file system: run it as root"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*FAULTS, "all"))
    counts = ", ".join(f"{name}: {count}" for name, (_, count) in FAULTS.items())
    parser.add_argument("--count", type=int, help=f"faults ({counts})")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (0)")
    parser.add_argument("--folder", type=Path, help="work here and leave everything (a temporary folder)")
    args = parser.parse_args()
    barred = [] if mounts.allowed() else [name for name in MOUNTS if args.what in (name, "all")]
    if args.what in barred:
        print(f"chaos: {args.what} {NEEDS_ROOT}", file=sys.stderr)
        return 2
    told: dict[str, Any]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
        if args.what == "all":
            told = {name: _skipped() if name in barred else _run(name, folder / name, args) for name in FAULTS}
            differences = [line for each in told.values() for line in each["differences"]]
        else:
            told = _run(args.what, folder, args)
            differences = told["differences"]
    print(json.dumps(told, indent=1))
    return 1 if differences else 0


def _run(what: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One fault, `--count` times."""
    folder.mkdir(exist_ok=True)
    place, count = FAULTS[what]
    module, name = place.split(".")
    began = time.monotonic()
    found: dict[str, Any] = getattr(importlib.import_module(f"faults.{module}"), name)(
        folder, args.count or count, args.seed
    )
    return found | {"seconds": round(time.monotonic() - began), "commit": provenance.commit(),
                    "hardware": provenance.hardware()}


def _skipped() -> dict[str, Any]:
    return {"skipped": NEEDS_ROOT, "differences": []}


if __name__ == "__main__":
    sys.exit(main())
