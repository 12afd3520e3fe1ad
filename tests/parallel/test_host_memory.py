"""Freed memory is kept, and that spares page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

from splitjax.parallel import keep_freed_memory

# In a process of its own: what it sets holds for the rest of the process.
PROGRAM = """
import resource, sys, threading
from splitjax.parallel import keep_freed_memory

def faults():
    def work():
        for _ in range(20):
            bytearray(96 << 20)  # above what glibc keeps by itself, and above what a thread's own pool can hold
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    assert keep_freed_memory()
faults()
print(faults())
"""


def faults(way: str) -> int:
    """Page faults of a thread that asks for the same memory again and again."""
    command = [sys.executable, "-c", PROGRAM, way]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_kept_memory_is_not_mapped_anew() -> None:
    usual = faults("usual")
    assert usual > 1000
    assert faults("kept") < usual / 100


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
