#!/usr/bin/env python3
"""What happens to a run when it is killed, or a file of it damaged.

    tools/chaos.py kills --count 100      SIGKILL at random moments of whole runs
    tools/chaos.py flips --count 500      flipped bits and cut files of every kind in a run folder

Works in a temporary folder, prints a table, and exits with 1 where something was lost or changed without a word.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from splitjax.pipeline import provenance  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "flips"))
    parser.add_argument("--count", type=int, help="faults (kills: 100, flips: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (0)")
    parser.add_argument("--folder", type=Path, help="work here and leave everything (a temporary folder)")
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
        found = globals()[f"_{args.what}"](folder, args)
    found |= {"seconds": round(time.monotonic() - began), "commit": provenance.commit(),
              "hardware": provenance.hardware()}  # fmt: skip
    print(json.dumps(found, indent=1))
    return 1 if found["differences"] else 0


def _kills(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from faults.kills import kill_runs

    return kill_runs(folder, args.count or 100, args.seed)


def _flips(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from faults.flips import flip_run

    return flip_run(folder, args.count or 500, args.seed)


if __name__ == "__main__":
    sys.exit(main())
