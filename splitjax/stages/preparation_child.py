"""The child process that prepares: config on standard input, messages as lines of JSON on standard output.

It imports no more than preparing takes, since a run waits for it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

from splitjax import data
from splitjax.config import UserError, from_dict
from splitjax.config.processes.stopping import Killed


def _child(out: str, windows: tuple[int, int], anew: bool) -> int:
    last = 0.0

    def tell(what: str, share: float, left: float) -> None:
        nonlocal last
        if time.monotonic() - last > 0.2:
            last = time.monotonic()
            print(json.dumps({"what": what, "share": share, "left": left}), flush=True)

    config = from_dict(json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        data.prepare(config.data, Path(out), seed=config.seed, progress=tell, windows=windows, anew=anew)
    except UserError as error:
        print(json.dumps({"error": {"what": error.what, "where": error.where, "mend": error.mend}}), flush=True)
        return 2
    except Killed as error:
        print(json.dumps({"killed": str(error)}), flush=True)
        return error.exit_code
    return 0


def _end_with_parent() -> None:
    """Two preparations must never write into one folder: an orphan ends at once."""
    os.read(sys.stdin.fileno(), 1)  # nothing more is sent: this returns when the parent is gone
    os._exit(1)


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])), "--anew" in sys.argv[4:]))
