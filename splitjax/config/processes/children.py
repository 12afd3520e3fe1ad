"""Commands of Python processes that we start: the folder in which the user stands holds no modules for them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_SAFE = "PYTHONSAFEPATH"


def python(*words: str, executable: str = sys.executable) -> list[str]:
    """A command: Python without the working folder in its path, so that no `./numpy.py` is run for numpy."""
    return [executable, *(["-P"] if _found_elsewhere() else []), *words]


@contextlib.contextmanager
def safe_path() -> Iterator[None]:
    """The same for processes that others start while it is open."""
    before = os.environ.get(_SAFE)
    if _found_elsewhere():
        os.environ[_SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_SAFE, None)


def _found_elsewhere() -> bool:
    """Whether this package is found without the working folder: not in a checkout that was never installed."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if Path.cwd() != _ROOT or any(path and Path(path).resolve() == _ROOT for path in paths):
        return True
    try:
        return metadata.distribution("splitjax") is not None
    except metadata.PackageNotFoundError:
        return False
