"""Compiled programs kept between processes, so that a second start takes seconds.

JAX's persistent cache holds machine code and is trusted: it lies in a folder of the user's own that nobody else may
enter. `SPLITJAX_CACHE` names another folder, or is `off`; JAX's own `JAX_COMPILATION_CACHE_DIR` is obeyed as well.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_WORTH_SECONDS = 0.3
"""Programs that compile faster are not kept."""
_KEEP_DAYS = 30.0
_ENVIRONMENT = "SPLITJAX_CACHE"


def folder() -> Path | None:
    """Where compiled programs are kept; None where the user turned it off."""
    if told := os.environ.get(_ENVIRONMENT):
        return None if told == "off" else Path(told)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "splitjax" / "programs" if os.path.isabs(home) else None  # some users have no home


def use() -> None:
    """Turn the cache on for this process; a folder that cannot be made leaves it off."""
    import jax

    place = folder()
    if place is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    _forget_unused(place)
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_SECONDS)


def _forget_unused(place: Path) -> None:
    """Remove what nobody has read for weeks: JAX itself never does."""
    oldest = time.time() - _KEEP_DAYS * 24 * 3600
    for entry in place.glob("*-cache"):
        with contextlib.suppress(OSError):  # another process may be doing the same
            told = entry.stat()
            if max(told.st_atime, told.st_mtime) < oldest:
                entry.unlink()
