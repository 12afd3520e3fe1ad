"""What the C library does with freed memory of the host."""

from __future__ import annotations

import ctypes
import sys

# Numbers of mallopt(3) in glibc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Keep what is freed for the next allocation instead of returning it to the system; for the whole process.

    A CPU step frees and asks again for the same buffers, and every page given back must be mapped and cleared anew:
    a third of the time of a step of a small model (`tools/bench_malloc.py`). Results do not change; the process keeps
    the memory of its peak.

    Returns:
        Whether the C library took it (glibc does; elsewhere nothing happens).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20}
    taken = [mallopt(name, value) for name, value in settings.items()]
    return all(taken)
