"""What the C library does with freed memory of the host."""

from __future__ import annotations

import ctypes
import os
import sys

from splitjax import accelerator_in_sight

# Numbers of mallopt(3) in glibc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Keep what is freed for the next allocation instead of returning it to the system; for the whole process.

    A CPU step frees and asks again for the same buffers, and every page given back must be mapped and cleared anew:
    an eighth to a sixth of the time of a step (`tools/bench_malloc.py`). Results do not change; the process keeps
    the memory of its peak.

    Call it before JAX opens its devices: all threads then share one pool, which alone can hold buffers above 64 MB.
    Later it serves the smaller ones only.

    Returns:
        Whether the C library took it. Nothing happens where it is not glibc, or where an accelerator holds the buffers.
    """
    elsewhere = accelerator_in_sight() and os.environ.get("JAX_PLATFORMS") != "cpu"
    if elsewhere or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20}
    taken = [mallopt(name, value) for name, value in settings.items()]
    return all(taken)
