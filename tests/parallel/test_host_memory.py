"""Freed memory is kept, and that spares page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

from splitjax.parallel import keep_freed_memory

# In a process of its own: what it sets holds for the rest of the process.
PROGRAM = """
import resource, threading
from splitjax.parallel import keep_freed_memory

def faults():
    def work():
        for _ in range(20):
            bytearray(48 << 20)  # above the size that glibc ever keeps by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
assert keep_freed_memory()
faults()
print(usual, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_kept_memory_is_not_mapped_anew() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    usual, kept = map(int, done.stdout.split())
    assert usual > 1000
    assert kept < usual / 10


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
