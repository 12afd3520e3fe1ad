"""From the start of a process to the end of its first step, with an empty cache of programs and with a full one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from splitjax.config import Config, UserError, from_dict
from splitjax.config.processes import children


def measure(config: Config, experts: int) -> dict[str, float]:
    """Seconds, in processes of their own: ``{cold, warm}``. Call it before this process opens the devices.

    Raises:
        UserError: a process ended without its step.
    """
    with tempfile.TemporaryDirectory(prefix="splitjax-first-step-") as cache:
        return {name: _seconds(config, experts, cache) for name in ("cold", "warm")}


def _seconds(config: Config, experts: int, cache: str) -> float:
    command = children.python("-m", "splitjax.planning.first_step")
    began = time.perf_counter()
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"SPLITJAX_CACHE": cache}
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        child.stdin.write(json.dumps({"config": config.resolved(), "experts": experts}))
        child.stdin.close()
        stepped = any(line.strip() == "stepped" for line in child.stdout)
        seconds = time.perf_counter() - began
    if not stepped:
        raise UserError(f"no first step: its process ended with code {child.returncode}", where="splitjax bench")
    return seconds


def _step(asked: dict[str, Any]) -> None:
    from splitjax.runs import program_cache

    from .bench import Runner

    program_cache.use()
    Runner.of(from_dict(asked["config"]), asked["experts"]).steps(1)
    print("stepped", flush=True)


if __name__ == "__main__":
    _step(json.load(sys.stdin))
