"""Where a figure comes from: command, commit, hardware, versions, date."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scipy")


def of(command: str) -> dict[str, Any]:
    """The record that every table and page carries."""
    import jax

    return {
        "command": command,
        "commit": commit(),
        "hardware": hardware(),
        "devices": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "made": now(),
    }


def now() -> str:
    """This moment, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def commit(here: Path = Path(__file__)) -> str:
    """The commit of our own checkout, "+" where files differ from it; of an installed package the one that it was
    installed from, or its version.

    A virtual environment often lies in a repository of somebody's: that one does not track our files.

    Args:
        here: this file.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:

        def git(*args: str) -> str:
            return subprocess.run(
                ["git", "-C", str(here.parent), *args], capture_output=True, text=True, check=True, timeout=10, env=own
            ).stdout.strip()

        git("ls-files", "--error-unmatch", "--", here.name)
        changed = git("status", "--porcelain", "--", str(here.parent))
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return _installed_from()


def _installed_from() -> str:
    """The commit that pip notes for an installation from a repository, else the version."""
    from splitjax import __version__

    try:
        told = json.loads(importlib.metadata.distribution("splitjax").read_text("direct_url.json") or "{}")
        return str(told["vcs_info"]["commit_id"])[:12]
    except (importlib.metadata.PackageNotFoundError, KeyError, TypeError, ValueError):
        return f"splitjax {__version__}"


def hardware() -> str:
    """Processor model and cores of this machine."""
    model = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        model = platform.processor() or model
    return f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores, {model}"
